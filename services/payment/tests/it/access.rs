//! Who may see and do what.

use tonic::Code;
use tourmesh::payment::v1::{CreatePaymentRequest, GetPaymentRequest, ListLedgerEntriesRequest};
use tourmesh_testkit::{Role, World, bearer, reason};

use crate::shop::{Shop, id, wish};

#[tokio::test(flavor = "multi_thread")]
async fn a_traveller_sees_its_own_payments_and_no_others() {
    let shop = Shop::open().await;
    let payment = shop.paid().await;
    let world = World::get().await;
    let get = |token: String, payment_id: &str| {
        let request = bearer(GetPaymentRequest { payment_id: payment_id.into() }, &token);
        let mut client = shop.client();
        async move { client.get_payment(request).await.map(|p| p.into_inner().payment.unwrap()) }
    };
    assert_eq!(get(world.token(&payment.customer_id, &[Role::Traveller], None), &payment.id).await.unwrap(), payment);
    assert_eq!(get(world.token(&id("usr"), &[Role::Staff], None), &payment.id).await.unwrap(), payment);
    let other = world.token(&id("usr"), &[Role::Traveller], None);
    assert_eq!(reason(&get(other.clone(), &payment.id).await.unwrap_err()), "PAYMENT_NOT_FOUND");
    assert_eq!(reason(&get(other, &id("pay")).await.unwrap_err()), "PAYMENT_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_services_open_payments_and_only_staff_reads_the_books() {
    let shop = Shop::open().await;
    let traveller = World::get().await.token(&id("usr"), &[Role::Traveller], None);
    let refused = shop.client().create_payment(bearer(wish("card_ok"), &traveller)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "ROLE_MISSING"));
    let refused = shop.client().create_payment(CreatePaymentRequest::default()).await.unwrap_err();
    assert_eq!(reason(&refused), "TOKEN_MISSING");
    let entries = ListLedgerEntriesRequest::default();
    assert_eq!(
        reason(&shop.client().list_ledger_entries(bearer(entries, &traveller)).await.unwrap_err()),
        "ROLE_MISSING"
    );
}
