//! The same request a hundred times at once has one effect and one answer; the same request_id with other content is
//! refused. For every method that changes something, of every service, through the gateway.
//!
//! The table is complete by construction: the test walks the descriptors of the whole API and fails for a method that has
//! a request_id and no row here, and for one that changes something and has no request_id without being listed with the
//! reason. What "one effect" means is not written down per method: the rows that a hundred equal requests add, in all
//! tables of all databases, are those that one request adds for a twin of the same making.

mod booking;
mod catalog;
mod letters;
mod mesh;
mod others;
mod raw;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{BoxFuture, join_all};
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, ReflectMessage as _, Value};
use tourmesh_testkit::reason;

use mesh::{Mesh, Rows};

/// How many at once.
const TIMES: usize = 100;

/// One request, and another with the same request_id.
pub struct Wish {
    /// Whose.
    pub token: String,
    /// The request.
    pub message: Vec<u8>,
    /// With the same request_id, but something else in it.
    pub other: Vec<u8>,
}

impl Wish {
    /// A request in somebody's name, and how another one differs from it.
    pub fn new<M: prost::Message + Clone>(token: &str, message: M, change: impl FnOnce(&mut M)) -> Self {
        let mut other = message.clone();
        change(&mut other);
        Self { token: token.to_owned(), message: message.encode_to_vec(), other: other.encode_to_vec() }
    }
}

/// A row of the table.
pub struct Case {
    /// "tourmesh.booking.v1.BookingService/CreateBooking".
    pub method: &'static str,
    /// Makes everything that the request needs, and the request: the same each time, but for ids.
    pub make: for<'a> fn(&'a Mesh) -> BoxFuture<'a, Wish>,
    /// What is the same in all answers; empty: everything. A booking or a payment may move on between two answers.
    pub same: &'static [&'static str],
    /// Tables in which each repeat may leave something, and why that is no second effect.
    pub but: &'static [(&'static str, &'static str)],
}

impl Case {
    /// The answers are the same to the last byte.
    pub const fn new(method: &'static str, make: for<'a> fn(&'a Mesh) -> BoxFuture<'a, Wish>) -> Self {
        Self { method, make, same: &[], but: &[] }
    }
    /// Only these fields are the same.
    pub const fn same(self, same: &'static [&'static str]) -> Self {
        Self { same, ..self }
    }
    /// With tables that are not counted.
    pub const fn but(self, but: &'static [(&'static str, &'static str)]) -> Self {
        Self { but, ..self }
    }
}

/// Methods that change something and have no request_id.
const WITHOUT: &[(&str, &str)] = &[
    ("tourmesh.identity.v1.IdentityService/SignIn", "each call is a new session; nothing else is made"),
    ("tourmesh.identity.v1.IdentityService/Refresh", "the token is the key: it works once"),
    ("tourmesh.identity.v1.IdentityService/SignOut", "the session is the key: ending it again changes nothing"),
    ("tourmesh.payment.v1.PaymentService/HandleProviderEvent", "the provider's event id is the key"),
    ("tourmesh.payment.v1.SandboxService/CompleteChallenge", "the challenge is the key: the first answer counts"),
    ("tourmesh.notification.v1.NotificationService/Unsubscribe", "the signed link is the key: it stops one thing"),
];

fn cases() -> Vec<Case> {
    [catalog::cases(), booking::cases(), others::cases(), letters::cases()].into_iter().flatten().collect()
}

/// All methods of the API, by path.
fn methods() -> BTreeMap<String, MethodDescriptor> {
    let pool = DescriptorPool::decode(tourmesh::DESCRIPTORS).unwrap();
    let services = pool.services().filter(|s| s.full_name().starts_with("tourmesh.")).collect::<Vec<_>>();
    let methods = services.iter().flat_map(|s| s.methods().collect::<Vec<_>>());
    methods.map(|m| (format!("{}/{}", m.parent_service().full_name(), m.name()), m)).collect()
}

#[test]
fn every_method_that_changes_something_is_in_the_table() {
    let all = methods();
    assert!(all.len() > 50, "the descriptors have only {} methods", all.len());
    let rows: Vec<&str> = cases().iter().map(|c| c.method).collect();
    let table: BTreeSet<&str> = rows.iter().copied().collect();
    assert_eq!(table.len(), rows.len(), "a method is there twice");
    let mut wrong = Vec::new();
    for (path, method) in &all {
        let repeatable = method.input().get_field_by_name("request_id").is_some();
        let reads = method.options().get_field_by_name("idempotency_level").and_then(|v| v.as_enum_number()) == Some(1);
        let excused = WITHOUT.iter().any(|(excused, _)| excused == path);
        match (repeatable, reads, table.contains(path.as_str())) {
            (true, true, _) => wrong.push(format!("{path} has a request_id, and says that it changes nothing")),
            (true, false, false) => wrong.push(format!("{path} has a request_id and no row in the table")),
            (false, false, _) if !excused => wrong.push(format!("{path} changes something and has no request_id")),
            _ => {}
        }
        if excused && (repeatable || reads) {
            wrong.push(format!("{path} needs no excuse"));
        }
    }
    let unknown = table.iter().copied().chain(WITHOUT.iter().map(|(path, _)| *path));
    wrong.extend(unknown.filter(|path| !all.contains_key(*path)).map(|path| format!("{path} is no method")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What is compared of an answer.
fn part(method: &MethodDescriptor, answer: &[u8], same: &[&str]) -> Vec<String> {
    let message = DynamicMessage::decode(method.output(), answer).unwrap();
    if same.is_empty() {
        return vec![format!("{message:?}")];
    }
    let field = |path: &&str| {
        let mut value = Value::Message(message.clone());
        for name in path.split('.') {
            let Value::Message(inside) = &value else { panic!("{path} leads nowhere") };
            assert!(inside.descriptor().get_field_by_name(name).is_some(), "{path} is no field");
            value = inside.get_field_by_name(name).unwrap().into_owned();
        }
        format!("{path}: {value:?}")
    };
    same.iter().map(field).collect()
}

/// One row of the table; what is wrong with it.
async fn check(mesh: &Mesh, case: &Case, method: &MethodDescriptor) -> Vec<String> {
    let (twin, wish) = ((case.make)(mesh).await, (case.make)(mesh).await);
    let counted = |rows: Rows| -> Rows {
        rows.into_iter().filter(|(table, _)| !case.but.iter().any(|(but, _)| but == table)).collect()
    };
    let before = counted(mesh.settled().await);
    if let Err(status) = mesh.call(case.method, &twin.token, &twin.message).await {
        return vec![format!("{}: a single request is refused: {status:?}", case.method)];
    }
    let between = counted(mesh.settled().await);
    let calls = (0..TIMES).map(|_| mesh.call(case.method, &wish.token, &wish.message));
    let mut wrong = Vec::new();
    let mut answers: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for answer in join_all(calls).await {
        match answer {
            Ok(answer) => *answers.entry(part(method, &answer, case.same)).or_default() += 1,
            Err(status) => wrong.push(format!("{}: refused: {status:?}", case.method)),
        }
    }
    wrong.truncate(3);
    if answers.len() > 1 {
        wrong.push(format!("{}: {} different answers: {answers:#?}", case.method, answers.len()));
    }
    let after = counted(mesh.settled().await);
    let (one, hundred) = (mesh::difference(&before, &between), mesh::difference(&between, &after));
    if one != hundred {
        wrong.push(format!("{}: one request adds {one:?}, a hundred add {hundred:?}", case.method));
    }
    if one.is_empty() {
        wrong.push(format!("{}: not even one request has an effect", case.method));
    }
    match mesh.call(case.method, &wish.token, &wish.other).await {
        Err(status) if reason(&status) == "REQUEST_ID_REUSED" => {}
        other => wrong.push(format!("{}: other content is not refused as reused: {other:?}", case.method)),
    }
    let refused = mesh::difference(&after, &counted(mesh.rows().await));
    if !refused.is_empty() {
        wrong.push(format!("{}: what was refused has left something: {refused:?}", case.method));
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_a_hundred_times_at_once_has_one_effect_and_one_answer() {
    let (mesh, methods) = (Mesh::start().await, methods());
    let only = std::env::var("TOURMESH_TEST_METHOD").unwrap_or_default();
    let mut wrong = Vec::new();
    for case in cases().iter().filter(|c| c.method.contains(&only)) {
        let begun = std::time::Instant::now();
        wrong.extend(check(&mesh, case, &methods[case.method]).await);
        println!("{} in {:?}", case.method, begun.elapsed());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
