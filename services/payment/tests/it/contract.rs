//! What every provider must hold to: run against the sandbox here, and against each provider that comes.

use std::time::Duration;

use tourmesh_kit::{db::Db, money::Money};
use tourmesh_payment::{
    config::SandboxConfig,
    domain::{
        PaymentId, RefundId,
        payment::{Outcome, Standing},
    },
    provider::{
        Capture, Charge, PaymentIntent, Provider, ProviderError, RefundOrder, RefundStanding, SignatureError, signature,
    },
    sandbox::Sandbox,
};

use crate::shop::{SECRET, room};

/// Tokens of the provider under test.
struct Tokens {
    succeeds: &'static str,
    is_declined: &'static str,
    gives_no_answer: &'static str,
    asks_for_a_second_step: &'static str,
    is_none: &'static str,
}

fn intent(method: &str, capture: Capture) -> PaymentIntent {
    let amount = Money::new("12.34".parse().unwrap(), "EUR".parse().unwrap());
    PaymentIntent {
        key: PaymentId::new(),
        amount,
        method: method.to_owned(),
        capture,
        return_url: "https://shop.example/back".into(),
    }
}

fn charge(intent: &PaymentIntent, outcome: &Outcome) -> Charge {
    Charge { key: intent.key, reference: outcome.reference.clone() }
}

fn money(text: &str) -> Money {
    Money::new(text.parse().unwrap(), "EUR".parse().unwrap())
}

/// The contract.
async fn holds(provider: &impl Provider, tokens: &Tokens) {
    assert!(provider.check_method(tokens.succeeds).is_ok());
    let problem = provider.check_method(tokens.is_none).unwrap_err();
    assert!(!problem.contains(tokens.is_none), "the token is not repeated: {problem}");

    // Capture at once; the same key is the same charge, and another content under it is refused.
    let wish = intent(tokens.succeeds, Capture::Auto);
    let taken = provider.create(&wish).await.unwrap();
    assert_eq!(taken.standing, Standing::Captured { amount: wish.amount });
    assert!(taken.reference.is_some());
    assert_eq!(provider.create(&wish).await.as_ref(), Ok(&taken));
    assert_eq!(provider.query(&charge(&wish, &taken)).await, Ok(Some(taken.clone())));
    let other = PaymentIntent { amount: money("99.00"), ..wish.clone() };
    assert!(matches!(provider.create(&other).await, Err(ProviderError::Refused(_))));

    // Refunds: once per key, in parts, never more than was taken.
    let order = |key, amount| RefundOrder { key, charge: charge(&wish, &taken), amount: money(amount) };
    let (first, second) = (RefundId::new(), RefundId::new());
    for _ in 0..3 {
        assert_eq!(provider.refund(&order(first, "12.00")).await, Ok(RefundStanding::Settled));
    }
    assert!(matches!(provider.refund(&order(first, "11.00")).await, Err(ProviderError::Refused(_))));
    assert!(matches!(provider.refund(&order(second, "0.35")).await, Err(ProviderError::Refused(_))));
    assert_eq!(provider.refund(&order(RefundId::new(), "0.34")).await, Ok(RefundStanding::Settled));

    // Reserve, then take; taking twice is taking once.
    let wish = intent(tokens.succeeds, Capture::Manual);
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
    let wish = intent(tokens.succeeds, Capture::Manual);
    let reserved = provider.create(&wish).await.unwrap();
    for _ in 0..2 {
        assert_eq!(provider.cancel(&charge(&wish, &reserved)).await.unwrap().standing, Standing::Cancelled);
    }
    assert_eq!(provider.capture(&charge(&wish, &reserved)).await.unwrap().standing, Standing::Cancelled);

    // Declined, with a reason, and again so for the same key.
    let wish = intent(tokens.is_declined, Capture::Auto);
    for _ in 0..2 {
        let declined = provider.create(&wish).await.unwrap_err();
        assert!(matches!(&declined, ProviderError::Declined { code, .. } if !code.is_empty()), "{declined:?}");
    }

    // No answer: unknown, not declined; the query knows the charge, and it comes to an end by itself.
    let wish = intent(tokens.gives_no_answer, Capture::Auto);
    assert!(matches!(provider.create(&wish).await, Err(ProviderError::Unknown(_))));
    let charge_without_reference = Charge { key: wish.key, reference: None };
    assert!(provider.query(&charge_without_reference).await.unwrap().is_some());

    // A second step has an address.
    let wish = intent(tokens.asks_for_a_second_step, Capture::Auto);
    let asked = provider.create(&wish).await.unwrap();
    assert!(matches!(&asked.standing, Standing::RequiresAction { url } if url.starts_with("http")), "{asked:?}");
    assert_eq!(provider.cancel(&charge(&wish, &asked)).await.unwrap().standing, Standing::Cancelled);

    // What it has never heard of.
    let nobody = Charge { key: PaymentId::new(), reference: None };
    assert_eq!(provider.query(&nobody).await, Ok(None));
    assert!(matches!(provider.capture(&nobody).await, Err(ProviderError::Refused(_))));

    // Events are believed by their signature alone.
    let now = chrono::Utc::now();
    for header in ["", "t=1", "nonsense", &signature::sign(b"somebody else's", b"{}", now)] {
        assert!(provider.verify_event(b"{}", header, now).is_err(), "{header}");
    }
    let stale = signature::sign(SECRET.as_bytes(), b"{}", now - chrono::TimeDelta::minutes(6));
    assert_eq!(provider.verify_event(b"{}", &stale, now), Err(SignatureError::Stale));
    assert!(provider.verify_event(b"{}", &signature::sign(SECRET.as_bytes(), b"{}", now), now).is_ok());
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
        succeeds: "card_ok",
        is_declined: "card_declined",
        gives_no_answer: "card_timeout",
        asks_for_a_second_step: "card_action",
        is_none: "card_of_nobody",
    };
    holds(&Sandbox::new(db, config, 2), &tokens).await;
}
