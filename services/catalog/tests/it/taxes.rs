//! Taxes: which rules count where and when, and what quotes make of them.

// The API has an Option too; ours is the other one.
use std::option::Option;

use futures_util::future::join_all;
use tonic::{Response, Status};
use tourmesh::{
    catalog::v1::*,
    common::v1::{TaxLine, UnitQuantity, UnitType},
    google::r#type::Money,
};
use tourmesh_testkit::{bearer, reason};

use crate::common::{House, a_tour, day};

fn rule(name: &str, percent: &str, included: bool) -> TaxRule {
    TaxRule { country: "FR".into(), name: name.into(), percent: percent.into(), included, ..Default::default() }
}

impl House {
    async fn try_tax(&self, request_id: &str, rule: TaxRule) -> Result<Response<SetTaxRuleResponse>, Status> {
        let request = SetTaxRuleRequest { request_id: request_id.into(), rule: Some(rule) };
        self.admin().set_tax_rule(bearer(request, &self.staff)).await
    }

    async fn tax(&self, rule: TaxRule) -> TaxRule {
        self.try_tax(&self.id(), rule).await.unwrap().into_inner().rule.unwrap()
    }

    async fn tax_rules(&self) -> Vec<TaxRule> {
        let mut all = Vec::new();
        let mut request = ListTaxRulesRequest { page_size: 2, ..Default::default() };
        loop {
            let page = self.admin().list_tax_rules(bearer(request.clone(), &self.staff)).await.unwrap().into_inner();
            all.extend(page.rules);
            if page.next_page_token.is_empty() {
                return all;
            }
            request.page_token = page.next_page_token;
        }
    }
}

fn cents(money: Option<&Money>) -> i64 {
    let money = money.unwrap();
    money.units * 100 + i64::from(money.nanos) / 10_000_000
}

fn lines(taxes: &[TaxLine]) -> Vec<(String, i64)> {
    taxes.iter().map(|l| (l.tax.clone().unwrap().name, cents(l.amount.as_ref()))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_and_an_offer_have_the_taxes_of_the_country_and_the_date() {
    let house = House::new().await;
    let supplier = house.supplier("Taxed").await;
    let (_, option) = house.on_sale(&supplier.id, a_tour("Taxed", "Taxé"), 29).await;
    let departure = house.departure(&option.id, &format!("{}T09:00", day(5)), 12).await;
    let later = house.departure(&option.id, &format!("{}T09:00", day(9)), 12).await;
    let quote = async |id: &str| {
        let units = [(UnitType::Adult, 2), (UnitType::Child, 3), (UnitType::Infant, 1)];
        let units = units.map(|(unit, quantity)| UnitQuantity { unit: unit.into(), quantity }).to_vec();
        let request = QuoteRequest { departure_id: id.into(), units };
        house.read().quote(request).await.unwrap().into_inner()
    };
    let before = quote(&departure.id).await;
    assert_eq!((lines(&before.taxes), cents(before.total.as_ref())), (vec![], 10_000));
    assert_eq!(before.net, before.total);

    house.tax(rule("VAT", "10", true)).await;
    let city = house.tax(TaxRule { valid_until: day(5), ..rule("City", "1.5", false) }).await;
    house.tax(TaxRule { country: "DE".into(), ..rule("VAT", "19", true) }).await;
    // A ticket of 29.00 holds 2.64 of VAT, one of 14.00 1.27; 1.5 % of 26.36 are 0.40, of 12.73 0.19.
    let taxed = quote(&departure.id).await;
    assert_eq!(lines(&taxed.taxes), [("VAT".into(), 2 * 264 + 3 * 127), ("City".into(), 2 * 40 + 3 * 19)]);
    assert_eq!(cents(taxed.total.as_ref()), 10_000 + 137);
    assert_eq!(cents(taxed.net.as_ref()), 10_000 - 909);
    assert_eq!(taxed.lines, before.lines);
    assert_eq!(lines(&quote(&later.id).await.taxes), [("VAT".into(), 909)]);

    let request = GetOfferRequest { departure_id: departure.id.clone() };
    let service = house.world.service_token("booking");
    let offer = house.read().get_offer(bearer(request, &service)).await.unwrap().into_inner().offer.unwrap();
    assert_eq!(offer.country, "FR");
    let taxes: Vec<_> = offer.taxes.iter().map(|t| (t.name.as_str(), t.percent.as_str(), t.included)).collect();
    assert_eq!(taxes, [("VAT", "10", true), ("City", "1.5", false)]);

    // Another rate, in the same place; then none.
    house.tax(TaxRule { percent: "2.5".into(), ..city.clone() }).await;
    assert_eq!(lines(&quote(&departure.id).await.taxes)[1], ("City".into(), 2 * 66 + 3 * 32));
    let delete = DeleteTaxRuleRequest { request_id: house.id(), tax_rule_id: city.id.clone() };
    for _ in 0..2 {
        house.admin().delete_tax_rule(bearer(delete.clone(), &house.staff)).await.unwrap();
    }
    assert_eq!(lines(&quote(&departure.id).await.taxes).len(), 1);
    // Each change is told once, by country; a repeat is none.
    assert_eq!(house.events("catalog.taxes.").await.len(), 5);
    assert_eq!(house.events("catalog.taxes.changed.FR").await.len(), 4);
    assert_eq!(house.tax_rules().await.len(), 2);
    let gone = house.try_tax(&house.id(), city).await.unwrap_err();
    assert_eq!(reason(&gone), "TAX_RULE_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tax_rule_is_checked_and_only_staff_sets_it() {
    let house = House::new().await;
    let supplier = house.supplier("Curious").await;
    let token = house.supplier_token(&supplier.id);
    let request = SetTaxRuleRequest { request_id: house.id(), rule: Some(rule("VAT", "20", true)) };
    assert_eq!(reason(&house.admin().set_tax_rule(bearer(request, &token)).await.unwrap_err()), "ROLE_MISSING");
    for wrong in [
        rule("VAT", "-1", true),
        rule("VAT", "100.5", true),
        rule("VAT", "1e1", true),
        rule("VAT", "0.00001", true),
        rule("VAT", "", true),
        rule(" ", "20", true),
        TaxRule { country: "fr".into(), ..rule("VAT", "20", true) },
        TaxRule { valid_from: day(5), valid_until: day(4), ..rule("VAT", "20", true) },
        TaxRule { valid_from: "2026-02-30".into(), ..rule("VAT", "20", true) },
    ] {
        let refused = house.try_tax(&house.id(), wrong.clone()).await.unwrap_err();
        assert_eq!(reason(&refused), "FIELD_INVALID", "{wrong:?}");
    }
    // The rate changes on a date: two rules of one name that never meet.
    let old = house.tax(TaxRule { valid_until: day(9), ..rule("VAT", "19.60", true) }).await;
    assert_eq!(old.percent, "19.6");
    house.tax(TaxRule { valid_from: day(10), ..rule("VAT", "20", true) }).await;
    let meets = house.try_tax(&house.id(), TaxRule { valid_from: day(9), ..rule("vat", "5", true) }).await;
    assert_eq!(reason(&meets.unwrap_err()), "FIELD_INVALID");
    let moved = house.try_tax(&house.id(), TaxRule { country: "DE".into(), ..old }).await.unwrap_err();
    assert_eq!(reason(&moved), "FIELD_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_ten_rules_of_a_date_and_one_of_a_name_are_set_and_repeats_are_harmless() {
    let house = House::new().await;
    let all = (0..40).map(|n| {
        let house = &house;
        // Each is sent twice, at once; and there are twenty names.
        let name = format!("Tax {}", n % 20);
        async move { house.try_tax(&format!("r{}", n % 20), rule(&name, "1", false)).await.map(|r| r.into_inner().rule) }
    });
    let all = join_all(all).await;
    let set: std::collections::BTreeSet<String> =
        all.iter().filter_map(|r| r.as_ref().ok()).map(|r| r.as_ref().unwrap().id.clone()).collect();
    assert_eq!(set.len(), 10);
    for (at, answer) in all.iter().enumerate() {
        assert_eq!(answer.as_ref().ok(), all[(at + 20) % 40].as_ref().ok());
    }
    assert_eq!(house.tax_rules().await.len(), 10);
    assert_eq!(house.events("catalog.taxes.changed.FR").await.len(), 10);
    let other = house.try_tax("r0", rule("Tax 0", "2", false)).await;
    assert!(other.is_err());
}
