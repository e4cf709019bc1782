//! What suppliers are owed, from the ledger and to the cent.

use tourmesh_payment::{payouts, provider::Period};
use tourmesh_testkit::Room;

use crate::shop::{Shop, eur, id, wish};

async fn report(room: &Room, supplier: Option<&str>) -> String {
    let day = chrono::TimeDelta::days(1);
    let period = Period { from: chrono::Utc::now() - day, to: chrono::Utc::now() + day };
    let supplier = supplier.map(|id| id.parse().unwrap());
    let report = payouts::of_env(&room.env(), period, supplier).await.unwrap();
    let mut csv = Vec::new();
    report.write(&mut csv, period).unwrap();
    let text = String::from_utf8(csv).unwrap();
    // Without the columns of the period.
    text.lines()
        .map(|l| {
            l.split(',').enumerate().filter(|(n, _)| !(2..4).contains(n)).map(|(_, f)| f).collect::<Vec<_>>().join(",")
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_payout_report_has_a_row_for_each_supplier_and_currency_and_its_totals_are_the_ledgers() {
    let shop = Shop::open().await;
    let mut suppliers = [id("sup"), id("sup")];
    suppliers.sort();
    let pay = |supplier: &str, units, cents, currency: &str| {
        let mut asked = wish("card_ok");
        asked.supplier_id = supplier.to_owned();
        asked.amount = eur(units, cents);
        asked.amount.as_mut().unwrap().currency_code = currency.to_owned();
        // A tenth of it, but for yen.
        if currency == "EUR" {
            asked.tax = eur(units / 10, i32::try_from(units % 10).unwrap() * 10 + cents / 10);
        }
        let shop = &shop;
        async move { shop.create(asked).await.unwrap() }
    };
    let first = pay(&suppliers[0], 99, 99, "EUR").await;
    pay(&suppliers[0], 50, 0, "EUR").await;
    pay(&suppliers[0], 7000, 0, "JPY").await;
    pay(&suppliers[1], 10, 0, "EUR").await;
    shop.refund(&id("req"), &first.id, eur(33, 33)).await.unwrap();
    let header = "supplier,currency,captures,captured,refunds,refunded,commission,commission_returned,payout,taxes";
    let [one, two] = &suppliers;
    let expected = [
        header,
        &format!("{one},EUR,2,149.99,1,33.33,22.5,5,99.16,11.66"),
        &format!("{one},JPY,1,7000,0,0,1050,0,5950,0"),
        &format!("{two},EUR,1,10,0,0,1.5,0,8.5,1"),
        "TOTAL,EUR,3,159.99,1,33.33,24,5,107.66,12.66",
        "TOTAL,JPY,1,7000,0,0,1050,0,5950,0",
    ];
    assert_eq!(report(&shop.room, None).await, expected.join("\n"));
    let owed = "SELECT (-sum(amount) * 100)::bigint FROM ledger_entries
                WHERE (account LIKE 'supplier:%' OR account LIKE 'taxes:%') AND currency = 'EUR'";
    assert_eq!(shop.count(owed).await, 10_766);
    let own = [header, expected[3], "TOTAL,EUR,1,10,0,0,1.5,0,8.5,1"];
    assert_eq!(report(&shop.room, Some(two)).await, own.join("\n"));
    assert_eq!(report(&shop.room, Some(&id("sup"))).await, header);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_would_leave_out_what_is_in_the_ledger_does_not_come_into_being() {
    let shop = Shop::open().await;
    shop.paid().await;
    // Balanced, and on no account that the report knows.
    sqlx::query(
        "INSERT INTO ledger_entries (transaction_id, seq, account, amount, currency, payment_id, kind, cause, booked_at)
         SELECT t.id, n.seq, n.account, n.amount, 'EUR', p.id, 'capture', t.id, now()
         FROM payments p, (SELECT gen_random_uuid() AS id) t,
              (VALUES (0, 'somebody:else', 5), (1, 'platform:commission', -5)) AS n (seq, account, amount)",
    )
    .execute(&shop.pool)
    .await
    .unwrap();
    let day = chrono::TimeDelta::days(1);
    let period = Period { from: chrono::Utc::now() - day, to: chrono::Utc::now() + day };
    let error = payouts::of_env(&shop.room.env(), period, None).await.unwrap_err().to_string();
    assert!(error.contains("the report's total is not the ledger's in EUR"), "{error}");
}
