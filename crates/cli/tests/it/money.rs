//! `tourmesh payments` beside a mesh that has sold something.

use std::process::Output;

use crate::process::MeshProcess;

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sold_is_found_at_the_provider_and_is_owed_to_the_suppliers() {
    let mut mesh = MeshProcess::new("money", &[]);
    mesh.up().await;
    let sold = mesh.command(&["demo", "--url", &mesh.gateway(), "--bookings", "5", "--query", ""]).output().unwrap();
    assert!(sold.status.success(), "{}", said(&sold));
    let payments = |arguments: &[&str]| {
        mesh.command(&["payments"]).args(arguments).arg("--data-dir").arg(mesh.data_dir()).output().unwrap()
    };
    let period = ["--from", "2026-01-01", "--to", "2126-01-01"];

    let compared = payments(&[&["reconcile"], &period[..]].concat());
    let text = said(&compared);
    assert!(
        compared.status.success() && text.contains("sandbox: 5 here, 5 there, 0 differences mended, 0 open"),
        "{text}"
    );

    let csv = String::from_utf8(payments(&[&["payouts"], &period[..]].concat()).stdout).unwrap();
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0][..2], ["supplier", "currency"]);
    let captures: u32 = rows.iter().filter(|r| r[0] == "TOTAL").map(|r| r[4].parse::<u32>().unwrap()).sum();
    assert_eq!(captures, 5, "{csv}");
    let supplier = rows[1][0];
    let own =
        String::from_utf8(payments(&[&["payouts", "--supplier", supplier], &period[..]].concat()).stdout).unwrap();
    assert!(own.contains(&rows[1].join(",")), "{own}");

    let wrong = payments(&["reconcile", "--from", "2026-11-02", "--to", "2026-11-01"]);
    assert!(!wrong.status.success() && said(&wrong).contains("--from is not before --to"), "{}", said(&wrong));
    mesh.stop();
}
