//! `tourmesh replay`: a slice of the real bookings, with enough seats and with too few.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// Every 37th booking of the file.
fn slice(name: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/booking-demand.csv");
    let all = std::fs::read_to_string(file).unwrap();
    let mut lines = all.lines();
    let head = lines.next().unwrap();
    let some: Vec<&str> = lines.step_by(37).collect();
    assert_eq!(some.len(), 404);
    let path = std::env::temp_dir().join(format!("tourmesh-replay-{name}-{}.csv", std::process::id()));
    std::fs::write(&path, format!("{head}\n{}\n", some.join("\n"))).unwrap();
    path
}

/// Each replay is a whole mesh; one at a time is enough for a small machine.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn replay(name: &str, more: &[&str]) -> (Value, Output) {
    let _one = ONE.lock().await;
    let file = slice(name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tourmesh"));
    command.args(["replay", "--standalone", "--json", "--clients", "24", "--customers", "1000"]).args(more).arg(&file);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    std::fs::remove_file(file).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let report = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
    let complained = String::from_utf8_lossy(&output.stderr);
    (report.unwrap_or_else(|| panic!("no report: {said}\n{complained}")), output)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_enough_seats_the_mesh_ends_with_the_totals_of_the_file_day_by_day() {
    let (report, output) = replay("large", &[]).await;
    assert!(output.status.success(), "{report:#}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(report["bookings"]["mesh"], 404);
    assert_eq!(report["differing_days"], 0);
    for (status, counts) in report["statuses"].as_object().unwrap() {
        assert!(counts["file"].as_u64().unwrap() > 0, "{status} is not in the slice");
        assert_eq!(counts["file"], counts["mesh"], "{status}");
    }
    assert_eq!(report["promises_kept"], true);
    assert_eq!(report["turned_away"], 0);
    // The slice has something of everything.
    for what in ["waited", "offers_taken", "renamed", "moved"] {
        assert!(report[what].as_u64().unwrap() > 0, "{what}: {report:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_too_few_seats_nothing_is_oversold_and_every_promise_is_kept() {
    let (report, output) = replay("small", &["--capacity", "2"]).await;
    assert!(output.status.success(), "{report:#}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(report["oversold"], 0);
    assert_eq!(report["promises_kept"], true);
    let (away, mesh) = (report["turned_away"].as_u64().unwrap(), report["bookings"]["mesh"].as_u64().unwrap());
    assert!(away > 0 && mesh > 0 && away + mesh == 404, "{report:#}");
    // Seats that came free went to those who waited.
    assert!(report["offers_taken"].as_u64().unwrap() > 0, "{report:#}");
    assert!(report["full_departures"].as_u64().unwrap() > 0, "{report:#}");
}

#[tokio::test]
async fn a_file_that_is_no_list_of_bookings_is_refused_before_anything_is_started() {
    let path = std::env::temp_dir().join(format!("tourmesh-replay-nonsense-{}.csv", std::process::id()));
    std::fs::write(&path, "row,arrival_date\n1,tomorrow\n").unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_tourmesh")).args(["replay", "--standalone"]).arg(&path).output().unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(!output.status.success());
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(complained.contains("is not a list of bookings"), "{complained}");
}
