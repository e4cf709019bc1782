//! What every provider must hold to: run against the sandbox here, and against Stripe in `stripe/local.rs`.

use std::{sync::Arc, time::Duration};

use tourmesh_kit::{db::Db, money::Money};
use tourmesh_payment::{
    config::SandboxConfig,
    domain::{
        PaymentId, RefundId,
        payment::{Outcome, Standing},
    },
    provider::{
        Capture, Charge, PaymentIntent, Period, Provider, ProviderError, Providers, RefundOrder, RefundStanding,
        SignatureError, signature,
    },
    sandbox::Sandbox,
};

use crate::shop::{SECRET, room};

/// Tokens and secrets of the provider under test.
pub(crate) struct Tokens {
    pub(crate) succeeds: String,
    pub(crate) is_declined: String,
    pub(crate) gives_no_answer: String,
    pub(crate) asks_for_a_second_step: String,
    pub(crate) is_none: String,
    pub(crate) secret: &'static str,
    pub(crate) return_url: &'static str,
}

impl Tokens {
    fn intent(&self, method: &str, capture: Capture) -> PaymentIntent {
        let (amount, return_url) = (money("12.34"), self.return_url.to_owned());
        PaymentIntent { key: PaymentId::new(), amount, method: method.to_owned(), capture, return_url }
    }
}

fn charge(intent: &PaymentIntent, outcome: &Outcome) -> Charge {
    Charge { key: intent.key, reference: outcome.reference.clone() }
}

fn money(text: &str) -> Money {
    Money::new(text.parse().unwrap(), "EUR".parse().unwrap())
}

/// The contract.
pub(crate) async fn holds(provider: Arc<dyn Provider>, tokens: &Tokens) {
    let begun = chrono::Utc::now() - chrono::TimeDelta::seconds(2);
    let intent = |method: &str, capture| tokens.intent(method, capture);
    assert!(provider.check_method(&tokens.succeeds).is_ok());
    let problem = provider.check_method(&tokens.is_none).unwrap_err();
    assert!(!problem.contains(&tokens.is_none), "the token is not repeated: {problem}");

    // Capture at once; the same key is the same charge, and another content under it is refused.
    let wish = intent(&tokens.succeeds, Capture::Auto);
    let taken = provider.create(&wish).await.unwrap();
    assert_eq!(taken.standing, Standing::Captured { amount: wish.amount });
    assert!(taken.reference.is_some());
    assert_eq!(provider.create(&wish).await.as_ref(), Ok(&taken));
    assert_eq!(provider.query(&charge(&wish, &taken)).await, Ok(Some(taken.clone())));
    let other = PaymentIntent { amount: money("99.00"), ..wish.clone() };
    assert!(matches!(provider.create(&other).await, Err(ProviderError::Refused(_))));

    // Refunds: once per key, in parts, never more than was taken.
    let order = |key, amount| RefundOrder { key, charge: charge(&wish, &taken), amount: money(amount), attempt: 0 };
    let (first, second) = (RefundId::new(), RefundId::new());
    for _ in 0..3 {
        assert_eq!(provider.refund(&order(first, "12.00")).await, Ok(RefundStanding::Settled));
    }
    assert!(matches!(provider.refund(&order(first, "11.00")).await, Err(ProviderError::Refused(_))));
    assert!(matches!(provider.refund(&order(second, "0.35")).await, Err(ProviderError::Refused(_))));
    assert_eq!(provider.refund(&order(RefundId::new(), "0.34")).await, Ok(RefundStanding::Settled));
    assert_eq!(provider.query_refund(&order(first, "12.00")).await, Ok(Some(RefundStanding::Settled)));
    assert_eq!(provider.query_refund(&order(RefundId::new(), "12.00")).await, Ok(None));
    let refunded = (wish.key, first);

    // Reserve, then take; taking twice is taking once.
    let wish = intent(&tokens.succeeds, Capture::Manual);
    let reserved = provider.create(&wish).await.unwrap();
    assert_eq!(reserved.standing, Standing::Authorized);
    for _ in 0..2 {
        let taken = provider.capture(&charge(&wish, &reserved)).await.unwrap();
        assert_eq!(taken.standing, Standing::Captured { amount: wish.amount });
    }
    // What is taken cannot be given up; the outcome says so.
    let still = provider.cancel(&charge(&wish, &reserved)).await.unwrap();
    assert_eq!(still.standing, Standing::Captured { amount: wish.amount });

    // Reserve, then give up; a charge that was given up is never taken.
    let wish = intent(&tokens.succeeds, Capture::Manual);
    let reserved = provider.create(&wish).await.unwrap();
    for _ in 0..2 {
        assert_eq!(provider.cancel(&charge(&wish, &reserved)).await.unwrap().standing, Standing::Cancelled);
    }
    assert_eq!(provider.capture(&charge(&wish, &reserved)).await.unwrap().standing, Standing::Cancelled);

    // Declined, with a reason, and again so for the same key.
    let wish = intent(&tokens.is_declined, Capture::Auto);
    for _ in 0..2 {
        let declined = provider.create(&wish).await.unwrap_err();
        assert!(matches!(&declined, ProviderError::Declined { code, .. } if !code.is_empty()), "{declined:?}");
    }

    // No answer: unknown, not declined; the query knows the charge, and it comes to an end by itself.
    let patient = Providers::new(vec![provider.clone()], Duration::from_secs(1));
    let wish = intent(&tokens.gives_no_answer, Capture::Auto);
    assert!(matches!(patient.in_time(provider.create(&wish)).await, Err(ProviderError::Unknown(_))));
    let charge_without_reference = Charge { key: wish.key, reference: None };
    assert!(provider.query(&charge_without_reference).await.unwrap().is_some());

    // A second step has an address, or a secret for the provider's script in the browser.
    let wish = intent(&tokens.asks_for_a_second_step, Capture::Auto);
    let asked = provider.create(&wish).await.unwrap();
    let Standing::RequiresAction { url } = &asked.standing else { panic!("{asked:?}") };
    let action = provider.action(&charge(&wish, &asked)).await.unwrap().unwrap();
    assert_eq!(&action.url, url);
    assert!(url.starts_with("http") || (url.is_empty() && !action.client_secret.is_empty()), "{action:?}");
    assert!(action.client_secret.is_empty() || !format!("{action:?}").contains(&action.client_secret));
    assert_eq!(provider.cancel(&charge(&wish, &asked)).await.unwrap().standing, Standing::Cancelled);
    assert_eq!(provider.action(&charge(&wish, &asked)).await, Ok(None));

    // What it lists for a period is what was asked for.
    let period = Period { from: begun, to: chrono::Utc::now() + chrono::TimeDelta::seconds(2) };
    let listed = provider.charges(period, None).await.unwrap().items;
    let cancelled = listed.iter().find(|c| c.key == Some(wish.key)).unwrap();
    assert_eq!((cancelled.amount, &cancelled.outcome.standing), (wish.amount, &Standing::Cancelled));
    assert_eq!(Some(&cancelled.reference), asked.reference.as_ref());
    let listed = provider.refunds(period, None).await.unwrap().items;
    let refund = listed.iter().find(|r| r.key == Some(refunded.1)).unwrap();
    assert_eq!((refund.amount, &refund.standing), (money("12.00"), &RefundStanding::Settled));
    assert_eq!(refund.payment, Some(refunded.0));
    let before = Period { from: begun - chrono::TimeDelta::days(1), to: begun };
    assert_eq!(provider.charges(before, None).await.unwrap().items, []);
    assert_eq!(provider.refunds(before, None).await.unwrap().items, []);

    // What it has never heard of.
    let nobody = Charge { key: PaymentId::new(), reference: None };
    assert_eq!(provider.query(&nobody).await, Ok(None));
    assert!(matches!(provider.capture(&nobody).await, Err(ProviderError::Refused(_))));

    // Events are believed by their signature alone.
    let now = chrono::Utc::now();
    for header in ["", "t=1", "nonsense", &signature::sign(b"somebody else's", b"{}", now)] {
        assert!(provider.verify_event(b"{}", header, now).is_err(), "{header}");
    }
    let stale = signature::sign(tokens.secret.as_bytes(), b"{}", now - chrono::TimeDelta::minutes(6));
    assert_eq!(provider.verify_event(b"{}", &stale, now), Err(SignatureError::Stale));
    assert!(provider.verify_event(b"{}", &signature::sign(tokens.secret.as_bytes(), b"{}", now), now).is_ok());
}

/// A provider whose key is wrong: a new charge is certainly not made, and of an old one nobody knows.
pub(crate) async fn is_refused_for_its_key(provider: &dyn Provider) {
    let wish = PaymentIntent {
        key: PaymentId::new(),
        amount: money("12.34"),
        method: "pm_card_visa".to_owned(),
        capture: Capture::Auto,
        return_url: String::new(),
    };
    assert!(matches!(provider.create(&wish).await, Err(ProviderError::Refused(_))));
    let charge = Charge { key: wish.key, reference: Some("pi_1".to_owned()) };
    assert!(matches!(provider.query(&charge).await, Err(ProviderError::Unknown(_))));
    let order = RefundOrder { key: RefundId::new(), charge: charge.clone(), amount: wish.amount, attempt: 0 };
    assert!(matches!(provider.refund(&order).await, Err(ProviderError::Unknown(_))));
    assert!(matches!(provider.query_refund(&order).await, Err(ProviderError::Unknown(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_keeps_the_contract_of_providers() {
    let db = Db::of_env(&room().await.env()).unwrap();
    let config = SandboxConfig {
        secret: SECRET.into(),
        webhook_url: None,
        all_events: true,
        timeout: Duration::from_millis(20),
        late: Duration::from_millis(100),
        public_url: "https://tours.example".into(),
    };
    let tokens = Tokens {
        succeeds: "card_ok".to_owned(),
        is_declined: "card_declined".to_owned(),
        gives_no_answer: "card_timeout".to_owned(),
        asks_for_a_second_step: "card_action".to_owned(),
        is_none: "card_of_nobody".to_owned(),
        secret: SECRET,
        return_url: "https://shop.example/back",
    };
    holds(Arc::new(Sandbox::new(db, config, 2)), &tokens).await;
}
