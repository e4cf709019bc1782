//! The whole process tree is killed while bookings are under way, again and again; in the end every promise is kept.

use std::{
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use crate::process::MeshProcess;

/// Travellers that keep booking, and do not mind restarts.
fn travellers(mesh: &MeshProcess, bookings: u32) -> Child {
    mesh.command(&["demo", "--url", &mesh.gateway(), "--clients", "16", "--patience", "120", "--query", ""])
        .args(["--bookings", &bookings.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bookings_survive_the_killing_of_the_whole_process_tree() {
    // The long profile is the issue's own: 1,000 bookings and more under way, twenty kills.
    let long = std::env::var_os("TOURMESH_TEST_LONG").is_some();
    let (rounds, bookings) = if long { (20, 1000) } else { (4, 300) };
    let seed: u64 = std::env::var("TOURMESH_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(rand::random);
    println!("TOURMESH_TEST_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);

    let mut mesh = MeshProcess::new("chaos", &[]);
    mesh.up().await;
    let mut travelling = vec![travellers(&mesh, bookings)];
    for round in 0..rounds {
        // Long enough for bookings to be in every stage, from hold to e-mail.
        tokio::time::sleep(Duration::from_millis(random.random_range(200..2500))).await;
        mesh.kill_tree();
        mesh.start();
        mesh.ready().await;
        println!("killed and back, round {round}");
        if travelling.last_mut().unwrap().try_wait().unwrap().is_some() {
            travelling.push(travellers(&mesh, bookings));
        }
    }
    for child in travelling {
        let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        println!("{said}{complained}");
        assert!(output.status.success(), "a traveller was let down; the mesh said:\n{}", mesh.log());
    }

    let begun = Instant::now();
    let verify = mesh.command(&["verify", "--settle", "60", "--data-dir"]).arg(mesh.data_dir()).output().unwrap();
    let report = String::from_utf8_lossy(&verify.stdout).into_owned();
    println!("{report}settled and verified in {:?}", begun.elapsed());
    assert!(verify.status.success(), "{report}{}", String::from_utf8_lossy(&verify.stderr));

    // Each e-mail is a file named after its delivery; the databases say how many there must be.
    let sent: usize = report
        .lines()
        .find_map(|line| line.trim().strip_suffix(" confirmations sent")?.rsplit(' ').next()?.parse().ok())
        .expect("verify says how many confirmations were sent");
    let files = std::fs::read_dir(mesh.data_dir().join("mail")).unwrap();
    let mails = files.filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "eml")).count();
    // All of them were paid for: their confirmations are their receipts.
    assert_eq!(mails, sent, "every confirmed booking was notified exactly once");
    assert!(sent > 0);
    assert!(!mesh.log().contains("panicked"), "{}", mesh.log());
    mesh.stop();
}
