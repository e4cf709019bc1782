//! The ledger: balanced, append-only, and readable.

use sqlx::{Connection as _, PgConnection};
use tourmesh::payment::v1::{ListBalancesRequest, ListLedgerEntriesRequest};
use tourmesh_testkit::{Role, World, bearer, reason};

use crate::shop::{Shop, eur, id, uuid_of, wish};

#[tokio::test(flavor = "multi_thread")]
async fn the_database_refuses_to_change_delete_or_unbalance_the_books() {
    let shop = Shop::open().await;
    let payment = shop.paid().await;
    let code = |error: sqlx::Error| error.as_database_error().unwrap().code().unwrap().into_owned();
    let url = shop.room.env().foreign("TOURMESH_DATABASE_URL").unwrap().to_owned();
    let mut runtime = PgConnection::connect(&url).await.unwrap();
    for statement in ["UPDATE ledger_entries SET amount = 1", "DELETE FROM ledger_entries", "TRUNCATE ledger_entries"] {
        // By permission for the role, by trigger for everybody.
        assert_eq!(code(sqlx::query(statement).execute(&mut runtime).await.unwrap_err()), "42501", "{statement}");
        assert_eq!(code(sqlx::query(statement).execute(&shop.pool).await.unwrap_err()), "23001", "{statement}");
    }
    let insert = "INSERT INTO ledger_entries (transaction_id, seq, account, amount, currency, payment_id, kind, cause, booked_at)
                  VALUES ($1, 0, 'a', 5, 'EUR', $2, 'refund', $1, now()), ($1, 1, 'b', $3, $4, $2, 'refund', $1, now())";
    for (amount, currency) in [(-4, "EUR"), (-5, "CHF")] {
        let written = sqlx::query(insert)
            .bind(uuid::Uuid::now_v7())
            .bind(uuid_of(&payment.id))
            .bind(rust_decimal::Decimal::from(amount))
            .bind(currency)
            .execute(&mut runtime)
            .await;
        assert_eq!(code(written.unwrap_err()), "23514", "{amount} {currency}");
    }
    // Entries belong to payments that there are, and those stay.
    let of_nothing = sqlx::query(insert)
        .bind(uuid::Uuid::now_v7())
        .bind(uuid::Uuid::now_v7())
        .bind(rust_decimal::Decimal::from(-5))
        .bind("EUR")
        .execute(&mut runtime)
        .await;
    assert_eq!(code(of_nothing.unwrap_err()), "23503");
    assert_eq!(code(sqlx::query("DELETE FROM payments").execute(&mut runtime).await.unwrap_err()), "42501");
    // Nothing is booked twice.
    let twice = "INSERT INTO ledger_entries (transaction_id, seq, account, amount, currency, payment_id, kind, cause, booked_at)
                 SELECT gen_random_uuid(), seq, account, amount, currency, payment_id, kind, cause, now() FROM ledger_entries";
    assert_eq!(code(sqlx::query(twice).execute(&mut runtime).await.unwrap_err()), "23505");
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commission_is_split_off_exactly_and_balances_show_it() {
    let shop = Shop::open().await;
    let mut asked = wish("card_ok");
    asked.amount = eur(99, 99);
    asked.tax = eur(9, 9);
    let payment = shop.create(asked.clone()).await.unwrap();
    let world = World::get().await;
    let staff = world.token(&id("usr"), &[Role::Staff], None);
    let balances = |supplier: &str, token: &str| {
        let request = ListBalancesRequest { supplier_id: supplier.into(), customer_id: String::new() };
        let request = bearer(request, token);
        let mut client = shop.client();
        async move { client.list_balances(request).await.map(|b| b.into_inner().balances) }
    };
    let all = balances("", &staff).await.unwrap();
    let seen: Vec<_> = all.iter().map(|b| (b.account.as_str(), b.balance.clone())).collect();
    let supplier = format!("supplier:{}", asked.supplier_id);
    let taxes = format!("taxes:{}", asked.supplier_id);
    assert_eq!(
        seen,
        [
            ("customers", eur(0, 0)),
            ("platform:commission", eur(-15, 0)),
            ("provider:sandbox:clearing", eur(99, 99)),
            (supplier.as_str(), eur(-75, -90)),
            (taxes.as_str(), eur(-9, -9)),
        ]
    );
    // A supplier sees its own, and nobody else's.
    let own = world.token(&id("usr"), &[Role::Supplier], Some(&asked.supplier_id));
    for wanted in ["", asked.supplier_id.as_str()] {
        let seen = balances(wanted, &own).await.unwrap();
        assert_eq!(seen.iter().map(|b| b.account.as_str()).collect::<Vec<_>>(), [supplier.as_str(), taxes.as_str()]);
    }
    assert_eq!(reason(&balances(&id("sup"), &own).await.unwrap_err()), "SUPPLIER_NOT_FOUND");
    assert_eq!(balances(&id("sup"), &staff).await.unwrap(), []);

    // Entries by page, newest first, of one payment or all.
    shop.refund(&id("req"), &payment.id, eur(99, 99)).await.unwrap();
    shop.paid().await;
    let list = |payment: &str, size, token: String| {
        let request = ListLedgerEntriesRequest { payment_id: payment.into(), page_size: size, page_token: token };
        let request = bearer(request, &staff);
        let mut client = shop.client();
        async move { client.list_ledger_entries(request).await.map(tonic::Response::into_inner) }
    };
    let mut entries = Vec::new();
    let mut token = String::new();
    loop {
        let page = list(&payment.id, 4, token).await.unwrap();
        entries.extend(page.entries);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(entries.len(), 12);
    assert!(entries[..6].iter().all(|e| e.kind == "refund") && entries[6..].iter().all(|e| e.kind == "capture"));
    assert_eq!(list("", 0, String::new()).await.unwrap().entries.len(), 17);
    let page = list("", 4, String::new()).await.unwrap();
    assert_eq!(reason(&list(&payment.id, 4, page.next_page_token).await.unwrap_err()), "PAGE_TOKEN_INVALID");
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customers_account_tells_what_was_bought_paid_and_given_back_and_only_staff_sees_it() {
    let shop = Shop::open().await;
    let mut asked = wish("card_ok");
    (asked.amount, asked.tax) = (eur(60, 0), eur(10, 0));
    let payment = shop.create(asked.clone()).await.unwrap();
    assert_eq!(payment.tax, eur(10, 0));
    // Shares are rounded, and the last part takes what is left: nothing stays behind.
    for (amount, taxes) in [(eur(0, 10), -998), (eur(39, 91), -333), (eur(19, 99), 0)] {
        shop.refund(&id("req"), &payment.id, amount).await.unwrap();
        let left =
            shop.count("SELECT (sum(amount) * 100)::bigint FROM ledger_entries WHERE account LIKE 'taxes:%'").await;
        assert_eq!(left, taxes);
        shop.audit().await;
    }
    let world = World::get().await;
    let list = |token: String| {
        let request = ListBalancesRequest { supplier_id: String::new(), customer_id: asked.customer_id.clone() };
        let mut client = shop.client();
        async move { client.list_balances(bearer(request, &token)).await.map(|b| b.into_inner().balances) }
    };
    let seen = list(world.token(&id("usr"), &[Role::Staff], None)).await.unwrap();
    let seen: Vec<_> = seen.into_iter().map(|b| (b.account, b.balance)).collect();
    let account = |kind: &str| format!("{kind}:{}", asked.customer_id);
    assert_eq!(seen, [(account("customer"), eur(0, 0)), (account("refunds"), eur(0, 0))]);
    let moved =
        shop.count("SELECT (sum(abs(amount)) * 100)::bigint FROM ledger_entries WHERE account LIKE 'refunds:%'");
    assert_eq!(moved.await, 12_000);
    let supplier = world.token(&id("usr"), &[Role::Supplier], Some(&asked.supplier_id));
    assert_eq!(reason(&list(supplier).await.unwrap_err()), "FIELD_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tax_is_part_of_the_amount_and_in_its_currency() {
    let shop = Shop::open().await;
    let chf =
        |units| eur(units, 0).map(|money| tourmesh::google::r#type::Money { currency_code: "CHF".into(), ..money });
    for (tax, why) in [(eur(100, 1), "FIELD_INVALID"), (eur(-1, 0), "FIELD_INVALID"), (chf(1), "CURRENCY_MISMATCH")] {
        let mut asked = wish("card_ok");
        asked.tax = tax;
        assert_eq!(reason(&shop.create(asked).await.unwrap_err()), why);
    }
    assert_eq!(shop.count("SELECT count(*) FROM payments").await, 0);
    for tax in [None, eur(0, 0), eur(100, 0)] {
        let mut asked = wish("card_ok");
        asked.tax = tax;
        shop.create(asked).await.unwrap();
    }
    shop.audit().await;
}
