//! A payment role in a room of its own, and words to talk to it.

use sqlx::PgPool;
use tonic::{Status, transport::Channel};
use tourmesh::{
    google::r#type::Money,
    payment::v1::{
        CapturePaymentRequest, CompleteChallengeRequest, CreatePaymentRequest, GetPaymentRequest,
        HandleProviderEventRequest, Payment, PaymentState, Refund, RefundPaymentRequest,
        payment_service_client::PaymentServiceClient, sandbox_service_client::SandboxServiceClient,
    },
};
use tourmesh_payment::provider::signature;
use tourmesh_testkit::{Room, Running, World, bearer, eventually};
use uuid::Uuid;

pub(crate) const SECRET: &str = "whsec_sandbox_test";

pub(crate) fn id(prefix: &str) -> String {
    format!("{prefix}_{}", Uuid::now_v7().simple())
}

pub(crate) fn uuid_of(id: &str) -> Uuid {
    id.split_once('_').unwrap().1.parse().unwrap()
}

pub(crate) fn eur(units: i64, cents: i32) -> Option<Money> {
    Some(Money { currency_code: "EUR".into(), units, nanos: cents * 10_000_000 })
}

/// A wish to pay 100 EUR.
pub(crate) fn wish(method: &str) -> CreatePaymentRequest {
    CreatePaymentRequest {
        request_id: id("req"),
        booking_id: id("bkg"),
        customer_id: id("usr"),
        supplier_id: id("sup"),
        amount: eur(100, 0),
        payment_method: method.into(),
        return_url: String::new(),
        manual_capture: false,
        provider: String::new(),
        purpose: String::new(),
        tax: None,
    }
}

/// The long profile: `cargo mesh test --long`.
pub(crate) fn long() -> bool {
    std::env::var_os("TOURMESH_TEST_LONG").is_some()
}

pub(crate) struct Shop {
    pub(crate) room: Room,
    pub(crate) running: Running,
    pub(crate) pool: PgPool,
    channel: Channel,
    token: String,
}

/// A room whose reconciler looks early and whose sandbox is quick.
pub(crate) async fn room() -> Room {
    let room = World::get().await.room("payment", &tourmesh_payment::SCHEMA).await;
    room.with("SANDBOX_WEBHOOK_SECRET", SECRET)
        .with("PENDING_GRACE_MS", 300)
        .with("SANDBOX_TIMEOUT_MS", 50)
        .with("SANDBOX_LATE_MS", 300)
}

impl Shop {
    pub(crate) async fn open() -> Self {
        Self::in_room(room().await).await
    }

    pub(crate) async fn in_room(room: Room) -> Self {
        let running = room.serve(tourmesh_payment::serve).await;
        let channel = running.channel();
        let pool = room.pool().await;
        Self { room, running, pool, channel, token: World::get().await.service_token("booking") }
    }

    pub(crate) fn client(&self) -> PaymentServiceClient<Channel> {
        PaymentServiceClient::new(self.channel.clone())
    }

    pub(crate) async fn create(&self, wish: CreatePaymentRequest) -> Result<Payment, Status> {
        let answer = self.client().create_payment(bearer(wish, &self.token)).await?;
        Ok(answer.into_inner().payment.unwrap())
    }

    pub(crate) async fn paid(&self) -> Payment {
        let payment = self.create(wish("card_ok")).await.unwrap();
        assert_eq!(payment.state(), PaymentState::Captured);
        payment
    }

    pub(crate) async fn capture(&self, request_id: &str, payment: &str) -> Result<Payment, Status> {
        let request = CapturePaymentRequest { request_id: request_id.into(), payment_id: payment.into() };
        Ok(self.client().capture_payment(bearer(request, &self.token)).await?.into_inner().payment.unwrap())
    }

    pub(crate) async fn refund(
        &self,
        request_id: &str,
        payment: &str,
        amount: Option<Money>,
    ) -> Result<(Refund, Payment), Status> {
        let request = RefundPaymentRequest {
            request_id: request_id.into(),
            payment_id: payment.into(),
            amount,
            reason: "cancelled".into(),
        };
        let answer = self.client().refund_payment(bearer(request, &self.token)).await?.into_inner();
        Ok((answer.refund.unwrap(), answer.payment.unwrap()))
    }

    pub(crate) async fn get(&self, payment: &str) -> Payment {
        let request = GetPaymentRequest { payment_id: payment.into() };
        self.client().get_payment(bearer(request, &self.token)).await.unwrap().into_inner().payment.unwrap()
    }

    pub(crate) async fn becomes(&self, payment: &str, state: PaymentState) -> Payment {
        eventually(|| async { self.get(payment).await.state() == state }).await;
        self.get(payment).await
    }

    pub(crate) async fn answer_challenge(&self, challenge: &str, approve: bool) -> Result<(), Status> {
        let request = CompleteChallengeRequest { challenge: challenge.into(), approve };
        SandboxServiceClient::new(self.channel.clone()).complete_challenge(request).await.map(drop)
    }

    /// Sends an event as the gateway would.
    pub(crate) async fn event(&self, body: &str, signature: &str) -> Result<bool, Status> {
        self.event_of("sandbox", body, signature).await
    }

    pub(crate) async fn event_of(&self, provider: &str, body: &str, signature: &str) -> Result<bool, Status> {
        let request = HandleProviderEventRequest {
            provider: provider.into(),
            body: body.to_owned().into(),
            signature: signature.into(),
        };
        Ok(self.client().handle_provider_event(request).await?.into_inner().applied)
    }

    /// Sends an event that is signed as it should be.
    pub(crate) async fn signed(&self, body: &str) -> Result<bool, Status> {
        self.event(body, &signature::sign(SECRET.as_bytes(), body.as_bytes(), chrono::Utc::now())).await
    }

    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    /// What must hold at any time: one event for each change that is told, one balanced ledger transaction for each
    /// capture and each settled refund, one charge at the sandbox for each payment, and the same amounts on both sides.
    pub(crate) async fn audit(&self) {
        self.books_are_whole().await;
        self.hold(SANDBOX_LAWS).await;
    }

    /// The part of it that does not look into the sandbox.
    pub(crate) async fn books_are_whole(&self) {
        // The service never looks for events by their subject; the laws do, for each payment.
        let index = "CREATE INDEX IF NOT EXISTS told ON outbox (subject)";
        sqlx::raw_sql(index).execute(&self.pool).await.unwrap();
        sqlx::raw_sql("ANALYZE outbox, payments, refunds, ledger_entries").execute(&self.pool).await.unwrap();
        self.hold(LAWS).await;
    }

    async fn hold(&self, laws: &[(&str, &'static str)]) {
        for (law, sql) in laws {
            let broken: Vec<String> = sqlx::query_scalar(*sql).fetch_all(&self.pool).await.unwrap();
            assert!(broken.is_empty(), "{law}: {broken:?}");
        }
    }
}

const LAWS: &[(&str, &str)] = &[
    (
        "a captured payment has one PaymentCaptured, and no other has",
        "SELECT p.id::text FROM payments p WHERE (p.state = 'CAPTURED')::int <> (SELECT count(*) FROM outbox
         WHERE subject = 'payment.payment.captured.pay_' || replace(p.id::text, '-', ''))",
    ),
    (
        "a failed or cancelled payment has one PaymentFailed, and no other has",
        "SELECT p.id::text FROM payments p WHERE (p.state IN ('FAILED', 'CANCELLED'))::int <> (SELECT count(*) FROM outbox
         WHERE subject = 'payment.payment.failed.pay_' || replace(p.id::text, '-', ''))",
    ),
    (
        "a payment is authorized once at most, and an authorized one has said so",
        "SELECT p.id::text FROM payments p, LATERAL (SELECT count(*) AS n FROM outbox
         WHERE subject = 'payment.payment.authorized.pay_' || replace(p.id::text, '-', '')) o
         WHERE n > 1 OR (p.state = 'AUTHORIZED' AND n = 0)",
    ),
    (
        "a settled refund has one PaymentRefunded",
        "SELECT p.id::text FROM payments p WHERE (SELECT count(*) FROM refunds r WHERE r.payment_id = p.id AND settled_at IS NOT NULL)
         <> (SELECT count(*) FROM outbox WHERE subject = 'payment.payment.refunded.pay_' || replace(p.id::text, '-', ''))",
    ),
    (
        "ledger transactions sum to zero",
        "SELECT transaction_id::text FROM ledger_entries GROUP BY transaction_id, currency HAVING sum(amount) <> 0",
    ),
    (
        "clearing holds what is captured and not given back",
        "SELECT p.id::text FROM payments p WHERE p.captured - p.returned <> (SELECT coalesce(sum(amount), 0) FROM ledger_entries
         WHERE payment_id = p.id AND kind IN ('capture', 'refund') AND account = 'provider:' || p.provider || ':clearing')",
    ),
    (
        "commission, taxes and the supplier's own are what is captured and not given back, and customers owe nothing",
        "SELECT p.id::text FROM payments p, LATERAL (SELECT
             coalesce(-sum(amount) FILTER (WHERE account = 'platform:commission' OR account LIKE 'taxes:%' OR account LIKE 'supplier:%'), 0) AS owed,
             coalesce(-sum(amount) FILTER (WHERE account LIKE 'taxes:%'), 0) AS taxes,
             coalesce(sum(amount) FILTER (WHERE account LIKE 'customer:%'), 0) AS customer
             FROM ledger_entries WHERE payment_id = p.id) l
         WHERE owed <> p.captured - p.returned OR customer <> 0
            OR taxes NOT BETWEEN 0 AND p.tax OR (p.captured > 0 AND p.returned = 0 AND taxes <> p.tax)
            OR (p.captured > 0 AND p.returned = p.captured AND taxes <> 0)",
    ),
    (
        "refunds add up",
        "SELECT p.id::text FROM payments p, LATERAL (SELECT coalesce(sum(amount), 0) AS reserved,
             coalesce(sum(amount) FILTER (WHERE settled_at IS NOT NULL), 0) AS settled FROM refunds WHERE payment_id = p.id) r
         WHERE p.refunded <> reserved OR p.returned <> settled",
    ),
];

/// What the sandbox's own memory must agree with.
const SANDBOX_LAWS: &[(&str, &str)] = &[
    (
        "the sandbox has charged what is captured, and given back what is settled",
        "SELECT p.id::text FROM payments p LEFT JOIN sandbox_intents i ON i.key = p.id
         WHERE (p.state = 'CAPTURED' AND (i.status IS DISTINCT FROM 'succeeded' OR i.amount <> p.amount OR i.refunded < p.returned))
            OR (p.state IN ('FAILED', 'CANCELLED') AND i.status = 'succeeded')",
    ),
    ("the sandbox has no charge without a payment", "SELECT key::text FROM sandbox_intents WHERE key NOT IN (SELECT id FROM payments)"),
];
