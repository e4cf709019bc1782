//! What a provider says later comes in over HTTP at the gateway, signed, and settles the payment.

use sqlx::{Connection as _, PgConnection};

use crate::process::MeshProcess;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_step_and_a_late_answer_arrive_by_webhook_and_confirm_the_booking() {
    let mut mesh = MeshProcess::new("webhooks", &[]);
    mesh.up().await;
    let reach = std::fs::read_to_string(mesh.data_dir().join("mesh.env")).unwrap();
    let url = reach.lines().find_map(|l| l.strip_prefix("TOURMESH_PAYMENT_DATABASE_URL=")).unwrap();
    let mut payment = PgConnection::connect(url).await.unwrap();
    let mut known = 0;
    for card in ["card_action", "card_timeout"] {
        let demo = mesh.command(&["demo", "--query", "", "--card", card, "--url", &mesh.gateway()]).output().unwrap();
        let said = String::from_utf8_lossy(&demo.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&demo.stderr).into_owned();
        assert!(demo.status.success(), "{card}: {said}{complaint}\n{}", mesh.log());
        // The reconciler would settle it as well, later: the event shows that the webhook came through.
        let events = || sqlx::query_scalar::<_, i64>("SELECT count(*) FROM provider_events WHERE provider = 'sandbox'");
        let mut now = events().fetch_one(&mut payment).await.unwrap();
        for _ in 0..100 {
            if now > known {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            now = events().fetch_one(&mut payment).await.unwrap();
        }
        assert!(now > known, "{card}: no webhook came in\n{}", mesh.log());
        known = now;
    }
    mesh.stop();
}
