//! Real engines: found, started, stopped, killed.

#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{Events, Helper, Scratch, alive, both, eventually, kill, nats_request, psql, sql};
use tourmesh_engines::{Binaries, DataDirLock, Durability, Engines, Error, Event, Options};

const STREAM: &str = r#"{"name":"T","subjects":["t.>"],"storage":"file"}"#;

/// Not a test: the other process of the tests that kill one.
#[tokio::test]
async fn helper_process() {
    support::helper().await;
}

#[tokio::test]
async fn explicit_directories_win_and_a_wrong_one_is_named() {
    let cached = Binaries::find(&Options::from_env(), |_| {}).await.unwrap();
    let explicit = Options {
        pg_bin: Some(cached.pg_bin.clone()),
        nats_bin: Some(cached.nats_bin.clone()),
        // Nothing may be looked for here.
        cache_dir: Some("/nonexistent/cache".into()),
        ..Options::default()
    };
    assert_eq!(Binaries::find(&explicit, |_| {}).await.unwrap(), cached);

    let empty = Scratch::new();
    std::fs::create_dir_all(empty.path()).unwrap();
    let wrong = Options { pg_bin: Some(empty.path().to_owned()), ..explicit };
    let message = Binaries::find(&wrong, |_| {}).await.unwrap_err().to_string();
    assert!(message.contains("TOURMESH_PG_BIN") && message.contains("postgres"), "{message}");

    for program in ["postgres", "initdb"] {
        let path = empty.path().join(program);
        std::fs::write(&path, "#!/bin/sh\necho 'postgres (PostgreSQL) 15.18'\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let message = Binaries::find(&wrong, |_| {}).await.unwrap_err().to_string();
    assert!(message.contains("15.18") && message.contains("18.0 or newer"), "{message}");
}

#[tokio::test]
async fn a_restart_keeps_data_ports_and_passwords() {
    let scratch = Scratch::new();
    let events = Events::default();
    let before = Instant::now();
    let first = Engines::start(scratch.options(), events.listener()).await.unwrap();
    let first_start = before.elapsed();
    assert!(events.any(|event| matches!(event, Event::Preparing { .. })));
    let (postgres, nats) = (first.postgres().clone(), first.nats().clone());
    sql(&postgres, "CREATE EXTENSION pg_stat_statements; CREATE TABLE t AS SELECT 42 AS n").unwrap();
    assert_eq!(sql(&postgres, "SHOW fsync").unwrap(), "on");
    let created = nats_request(&nats, &nats.password, "$JS.API.STREAM.CREATE.T", STREAM).unwrap();
    assert!(created.contains("\"name\":\"T\"") && !created.contains("error"), "{created}");
    assert!(nats_request(&nats, &nats.password, "t.x", "hello").unwrap().contains("\"seq\":1"));
    let pids = both(first.pids());
    let before = Instant::now();
    first.stop().await.unwrap();
    let stop = before.elapsed();
    assert!(!alive(pids.0) && !alive(pids.1));

    let events = Events::default();
    let before = Instant::now();
    let second = Engines::start(scratch.options(), events.listener()).await.unwrap();
    let second_start = before.elapsed();
    assert!(!events.any(|event| matches!(event, Event::Preparing { .. } | Event::Leftover { .. })));
    assert_eq!((second.postgres(), second.nats()), (&postgres, &nats));
    assert_eq!(sql(&postgres, "SELECT n FROM t").unwrap(), "42");
    let info = nats_request(&nats, &nats.password, "$JS.API.STREAM.INFO.T", "").unwrap();
    assert!(info.contains("\"messages\":1"), "{info}");
    second.stop().await.unwrap();
    // Far from the usual figures, close enough to catch a blunder; see them with --nocapture.
    assert!(stop < Duration::from_secs(5) && second_start < Duration::from_secs(5), "{stop:?} {second_start:?}");
    eprintln!("first {first_start:?} stop {stop:?} second {second_start:?}");
}

#[tokio::test]
async fn a_taken_port_is_avoided_and_strangers_are_refused() {
    let scratch = Scratch::new();
    let options = Options { durability: Durability::Relaxed, ..scratch.options() };
    let first = Engines::start(options.clone(), |_| {}).await.unwrap();
    let (postgres, nats) = (first.postgres().clone(), first.nats().clone());
    let refused = psql(&postgres, &postgres.url_as("postgres", "wrong", "postgres"), "SELECT 1").unwrap_err();
    assert!(refused.contains("password authentication failed"), "{refused}");
    // Which error it is depends on whether the server's last words arrive before it hangs up.
    nats_request(&nats, "wrong", "$JS.API.INFO", "").unwrap_err();
    nats_request(&nats, &nats.password, "$JS.API.INFO", "").unwrap();
    first.stop().await.unwrap();

    let _squatters = [postgres.port, nats.port].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    let second = Engines::start(options, |_| {}).await.unwrap();
    assert_ne!(second.postgres().port, postgres.port);
    assert_ne!(second.nats().port, nats.port);
    assert_eq!(sql(second.postgres(), "SELECT 1").unwrap(), "1");
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_start_is_refused_and_a_stale_lock_is_not_in_the_way() {
    let scratch = Scratch::new();
    std::fs::create_dir_all(scratch.path()).unwrap();
    let lock = DataDirLock::acquire(scratch.path()).unwrap();
    let error = Engines::start(scratch.options(), |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Busy { pid: Some(pid), .. } if pid == std::process::id()));
    let message = error.to_string();
    assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    assert!(message.contains(scratch.path().to_str().unwrap()), "{message}");
    drop(lock);
    assert!(scratch.path().join("lock").exists());
    let engines = Engines::start(scratch.options(), |_| {}).await.unwrap();
    engines.stop().await.unwrap();
}

#[tokio::test]
async fn killed_engines_come_back_on_the_same_port_with_their_data() {
    let scratch = Scratch::new();
    let events = Events::default();
    let engines = Engines::start(scratch.options(), events.listener()).await.unwrap();
    sql(engines.postgres(), "CREATE TABLE t AS SELECT 7 AS n").unwrap();
    let nats = engines.nats().clone();
    nats_request(&nats, &nats.password, "$JS.API.STREAM.CREATE.T", STREAM).unwrap();
    nats_request(&nats, &nats.password, "t.x", "hello").unwrap();
    let old = both(engines.pids());
    kill(old.0);
    kill(old.1);
    let back = || {
        let now = engines.pids();
        now.postgres.is_some_and(|pid| pid != old.0) && now.nats.is_some_and(|pid| pid != old.1)
    };
    while !back() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(sql(engines.postgres(), "SELECT n FROM t").unwrap(), "7");
    let info = nats_request(&nats, &nats.password, "$JS.API.STREAM.INFO.T", "").unwrap();
    assert!(info.contains("\"messages\":1"), "{info}");
    assert!(events.any(|event| matches!(event, Event::Crashed { status, .. } if status.contains("signal: 9"))));
    assert!(events.any(|event| matches!(event, Event::Restarted { .. })));
    engines.stop().await.unwrap();
}

#[tokio::test]
async fn engines_die_with_a_killed_parent_and_keep_their_data() {
    let scratch = Scratch::new();
    let helper = Helper::start(Some(scratch.path()));
    let (postgres, nats) = (helper.postgres, helper.nats);
    let error = Engines::start(scratch.options(), |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Busy { pid, .. } if pid == Some(helper.pid())), "{error}");
    helper.kill();
    // At once, while the watchdogs are still at work.
    let engines = Engines::start(scratch.options(), |_| {}).await.unwrap();
    assert!(!alive(postgres) && !alive(nats));
    assert_eq!(sql(engines.postgres(), "SELECT 1").unwrap(), "1");
    engines.stop().await.unwrap();

    let helper = Helper::start(Some(scratch.path()));
    let (postgres, nats) = (helper.postgres, helper.nats);
    helper.kill();
    eventually("the engines have ended", || !alive(postgres) && !alive(nats));
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn engines_that_outlived_their_watchdogs_are_stopped_first() {
    let scratch = Scratch::new();
    let helper = Helper::start(Some(scratch.path()));
    let (postgres, nats) = (helper.postgres, helper.nats);
    // A watchdog is in the process group of its engine.
    for engine in [postgres, nats] {
        let group = Command::new("ps").args(["-e", "-o", "pid=,pgid=,comm="]).output().unwrap();
        for line in String::from_utf8(group.stdout).unwrap().lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words[1] == engine.to_string() && words[2] == "sh" {
                kill(words[0].parse().unwrap());
            }
        }
    }
    helper.kill();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(alive(postgres) && alive(nats), "without watchdogs they go on");
    let events = Events::default();
    let engines = Engines::start(scratch.options(), events.listener()).await.unwrap();
    assert!(!alive(postgres) && !alive(nats));
    assert!(events.any(|event| matches!(event, Event::Leftover { pid, .. } if *pid == postgres)));
    assert!(events.any(|event| matches!(event, Event::Leftover { pid, .. } if *pid == nats)));
    engines.stop().await.unwrap();
}

#[tokio::test]
async fn ephemeral_engines_leave_nothing_behind() {
    let stopped = Engines::ephemeral(Options::from_env()).await.unwrap();
    let before = Instant::now();
    let dropped = Engines::ephemeral(Options::from_env()).await.unwrap();
    let took = before.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    eprintln!("ephemeral {took:?}");
    assert_eq!(sql(stopped.postgres(), "SHOW fsync").unwrap(), "off");
    assert_eq!(sql(dropped.postgres(), "SELECT 1").unwrap(), "1");
    let (dir, pids) = (stopped.data_dir().to_owned(), both(stopped.pids()));
    let before = Instant::now();
    stopped.stop().await.unwrap();
    eprintln!("ephemeral stop {:?}", before.elapsed());
    assert!(!dir.exists() && !alive(pids.0) && !alive(pids.1));

    let (dir, pids) = (dropped.data_dir().to_owned(), both(dropped.pids()));
    drop(dropped);
    tokio::task::spawn_blocking(move || {
        eventually("dropped engines are gone", || !dir.exists() && !alive(pids.0) && !alive(pids.1));
    })
    .await
    .unwrap();

    let killed = Helper::start(None);
    let (dir, postgres, nats) = (killed.data_dir.clone(), killed.postgres, killed.nats);
    assert!(dir.exists());
    killed.kill();
    eventually("killed engines are gone", || !dir.exists() && !alive(postgres) && !alive(nats));
}

#[tokio::test]
async fn a_directory_that_is_closed_to_the_engines_user_is_named() {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};

    if std::fs::metadata("/proc/self").map_or(1, |meta| meta.uid()) != 0 {
        return;
    }
    let scratch = Scratch::new();
    std::fs::DirBuilder::new().mode(0o700).create(scratch.path()).unwrap();
    let inside = scratch.path().join("data");
    let error = Engines::start(Options::from_env().with_data_dir(&inside), |_| {}).await.unwrap_err();
    assert!(matches!(&error, Error::NotTraversable { blocked, .. } if blocked == scratch.path()), "{error}");
    let message = error.to_string();
    assert!(message.contains("root") && message.contains("o+x"), "{message}");
}
