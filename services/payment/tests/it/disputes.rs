//! Charges that customers dispute with their banks. Neither localstripe nor stripe-mock sends webhooks about them, so they
//! come in the shape that Stripe documents (docs.stripe.com/api/disputes/object, …/disputes/how-disputes-work,
//! …/api/events/types#event_types-charge.dispute.created), shortened to what is read and what stands beside it.

use rand::seq::SliceRandom as _;
use serde_json::{Value, json};
use tourmesh::payment::v1::{Dispute, DisputeState, ListDisputesRequest, Payment};
use tourmesh_payment::{payouts, provider::Period};
use tourmesh_testkit::{Role, World, bearer, reason};

use crate::{
    shop::{Shop, eur, id, room, wish},
    stripe::{
        scripted::{self, Scripted, signed},
        with_stripe,
    },
};

struct Case {
    charge: String,
    dispute: String,
    /// Events of one second are told apart by their standing alone.
    began: i64,
}

fn transaction(dispute: &str, sign: i64, currency: &str) -> Value {
    json!({"id": format!("txn_{}_{dispute}", if sign < 0 { "out" } else { "back" }), "object": "balance_transaction",
        "amount": sign * 4_000, "currency": currency, "fee": if sign < 0 { 1_500 } else { 0 },
        "net": sign * 4_000 - if sign < 0 { 1_500 } else { 0 },
        "reporting_category": if sign < 0 { "dispute" } else { "dispute_reversal" }, "type": "adjustment"})
}

impl Case {
    fn of(payment: &Payment) -> Self {
        let dispute = format!("du_{}", uuid::Uuid::now_v7().simple());
        Self { charge: payment.provider_reference.clone(), dispute, began: chrono::Utc::now().timestamp() - 1_000 }
    }

    fn event(&self, kind: &str, second: i64, status: &str, transactions: &[Value]) -> String {
        let object = json!({
            "id": self.dispute, "object": "dispute", "amount": 4_000, "balance_transactions": transactions,
            "charge": "ch_1AZtxr2eZvKYlo2CJDX8whov", "created": self.began, "currency": "eur",
            "evidence": {"customer_email_address": null, "uncategorized_text": null},
            "evidence_details": {"due_by": self.began + 600_000, "has_evidence": false, "past_due": false,
                "submission_count": 0},
            "is_charge_refundable": false, "livemode": false, "metadata": {}, "payment_intent": self.charge,
            "reason": "fraudulent", "status": status,
        });
        let mut event: Value =
            serde_json::from_str(&scripted::event(&format!("charge.dispute.{kind}"), &object)).unwrap();
        event["created"] = json!(self.began + second);
        event.to_string()
    }

    /// All that Stripe tells of a dispute that is lost or won.
    fn story(&self, won: bool, currency: &str) -> Vec<String> {
        let (out, back) = (transaction(&self.dispute, -1, currency), transaction(&self.dispute, 1, currency));
        let taken = std::slice::from_ref(&out);
        let mut story = vec![
            self.event("created", 1, "needs_response", taken),
            self.event("funds_withdrawn", 1, "needs_response", taken),
            self.event("updated", 2, "under_review", taken),
        ];
        if won {
            story.push(self.event("funds_reinstated", 3, "won", &[out.clone(), back.clone()]));
            story.push(self.event("closed", 3, "won", &[out, back]));
        } else {
            story.push(self.event("closed", 3, "lost", taken));
        }
        story
    }
}

async fn list(shop: &Shop, open_only: bool) -> Vec<Dispute> {
    let token = World::get().await.token(&id("usr"), &[Role::Staff], None);
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListDisputesRequest { open_only, page_size: 2, page_token };
        let page = shop.client().list_disputes(bearer(request, &token)).await.unwrap().into_inner();
        all.extend(page.disputes);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

async fn balance(shop: &Shop, account: &str) -> i64 {
    let sum = "SELECT (coalesce(sum(amount), 0) * 100)::bigint FROM ledger_entries WHERE account = $1";
    sqlx::query_scalar(sum).bind(account).fetch_one(&shop.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispute_is_booked_and_listed_step_by_step() {
    let server = Scripted::start().await;
    let shop = Shop::in_room(with_stripe(&room().await, &server.url)).await;
    let paid = shop.create(wish("pm_ok_paid")).await.unwrap();
    let case = Case::of(&paid);
    let story = case.story(true, "eur");
    let tell = |body: String| {
        let shop = &shop;
        async move { shop.event_of("stripe", &body, &signed(&body)).await.unwrap() }
    };
    assert!(tell(story[0].clone()).await);
    assert!(!tell(story[0].clone()).await, "the same event");
    assert!(!tell(story[1].clone()).await, "another event that says the same");
    assert_eq!(
        (balance(&shop, "provider:stripe:clearing").await, balance(&shop, "disputes:stripe").await),
        (6_000, 4_000)
    );
    let seen = list(&shop, true).await;
    assert_eq!(seen.len(), 1);
    let open = &seen[0];
    assert_eq!(
        (open.state(), open.status.as_str(), open.reason.as_str()),
        (DisputeState::Open, "needs_response", "fraudulent")
    );
    assert_eq!((&open.amount, &open.withdrawn), (&eur(40, 0), &eur(40, 0)));
    assert_eq!(
        (&open.payment_id, &open.booking_id, &open.customer_id),
        (&paid.id, &paid.booking_id, &paid.customer_id)
    );
    assert_eq!(open.evidence_by.unwrap().seconds, case.began + 600_000);
    for body in &story[2..] {
        tell(body.clone()).await;
    }
    assert_eq!(
        (balance(&shop, "provider:stripe:clearing").await, balance(&shop, "disputes:stripe").await),
        (10_000, 0)
    );
    assert_eq!(list(&shop, true).await, []);
    let won = list(&shop, false).await.remove(0);
    assert_eq!((won.state(), won.withdrawn, won.id.as_str()), (DisputeState::Won, eur(0, 0), open.id.as_str()));
    let told = "SELECT count(*) FROM outbox WHERE subject LIKE 'payment.payment.disputed.%'";
    assert_eq!(shop.count(told).await, 3, "heard of, under review, won");
    shop.books_are_whole().await;
    for role in [Role::Traveller, Role::Supplier] {
        let token = World::get().await.token(&id("usr"), &[role], None);
        let refused = shop.client().list_disputes(bearer(ListDisputesRequest::default(), &token)).await.unwrap_err();
        assert_eq!(reason(&refused), "ROLE_MISSING");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_disputes_in_any_order_and_repeated_have_one_effect_and_suppliers_are_owed_the_same() {
    let server = Scripted::start().await;
    let shop = Shop::in_room(with_stripe(&room().await, &server.url)).await;
    let mut bodies = Vec::new();
    let mut lost = 0;
    for number in 0..12 {
        let paid = shop.create(wish("pm_ok_paid")).await.unwrap();
        let (won, currency) = (number % 2 == 0, if number % 3 == 0 { "usd" } else { "eur" });
        lost += i64::from(!won);
        let story = Case::of(&paid).story(won, currency);
        bodies.extend(story.iter().flat_map(|body| std::iter::repeat_n(body.clone(), 4)));
    }
    bodies.shuffle(&mut rand::rng());
    let shop = &shop;
    let tasks = bodies.chunks(30).map(|part| async move {
        for body in part {
            shop.event_of("stripe", body, &signed(body)).await.unwrap();
        }
    });
    futures_util::future::join_all(tasks).await;
    let states = list(shop, false).await;
    assert_eq!(states.len(), 12);
    assert_eq!(states.iter().filter(|d| d.state() == DisputeState::Lost).count(), 6);
    assert!(states.iter().all(|d| (d.state() == DisputeState::Won) == (d.withdrawn == eur(0, 0))), "{states:?}");
    // What a bank took in dollars was of a charge in euros: that is what is booked.
    assert_eq!(shop.count("SELECT count(*) FROM ledger_entries WHERE currency <> 'EUR'").await, 0);
    assert_eq!(balance(shop, "platform:losses").await, lost * 4_000);
    assert_eq!(balance(shop, "disputes:stripe").await, 0);
    assert_eq!(balance(shop, "provider:stripe:clearing").await, 12 * 10_000 - lost * 4_000);
    // The report to suppliers proves itself against the ledger, and disputes are not theirs.
    let day = chrono::TimeDelta::days(1);
    let period = Period { from: chrono::Utc::now() - day, to: chrono::Utc::now() + day };
    let report = payouts::of_env(&shop.room.env(), period, None).await.unwrap();
    assert_eq!(report.totals()["EUR"].payout, rust_decimal::Decimal::from(12 * 85));
    shop.books_are_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispute_that_comes_before_we_know_the_charge_finds_its_payment_and_a_strangers_is_of_no_concern() {
    let server = Scripted::start().await;
    let shop = Shop::in_room(with_stripe(&room().await, &server.url)).await;
    let paid = shop.create(wish("pm_ok_paid")).await.unwrap();
    let case = Case::of(&paid);
    let body = case.story(false, "eur").remove(0);
    sqlx::query("UPDATE payments SET provider_reference = NULL").execute(&shop.pool).await.unwrap();
    assert!(shop.event_of("stripe", &body, &signed(&body)).await.unwrap());
    assert_eq!(list(&shop, true).await[0].payment_id, paid.id);

    let stranger = Case { charge: "pi_of_somebody_else".into(), ..Case::of(&paid) };
    let body = stranger.story(false, "eur").remove(0);
    assert!(!shop.event_of("stripe", &body, &signed(&body)).await.unwrap());
    let none = body.replace("\"pi_of_somebody_else\"", "null");
    assert!(!shop.event_of("stripe", &none, &signed(&none)).await.unwrap());
    assert_eq!(shop.count("SELECT count(*) FROM disputes").await, 1);
    shop.books_are_whole().await;
}
