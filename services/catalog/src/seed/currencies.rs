//! Which currency a country pays in, and what a tour costs there.

use rust_decimal::Decimal;
use tourmesh_kit::money::{Currency, Money};

/// Country (ISO 3166-1) and currency (ISO 4217), one pair for each country of data/world-heritage-sites.csv.
const OF_COUNTRY: &str = "
    AD EUR AE AED AF AFN AG XCD AL ALL AM AMD AO AOA AR ARS AT EUR AU AUD AZ AZN BA BAM BB BBD BD BDT BE EUR BF XOF
    BG BGN BH BHD BJ XOF BO BOB BR BRL BW BWP BY BYN BZ BZD CA CAD CD CDF CF XAF CG XAF CH CHF CI XOF CL CLP CM XAF
    CN CNY CO COP CR CRC CU CUP CV CVE CY EUR CZ CZK DE EUR DK DKK DM XCD DO DOP DZ DZD EC USD EE EUR EG EGP ER ERN
    ES EUR ET ETB FI EUR FJ FJD FM USD FR EUR GA XAF GB GBP GE GEL GH GHS GM GMD GN GNF GR EUR GT GTQ HN HNL HR EUR
    HT HTG HU HUF ID IDR IE EUR IL ILS IN INR IQ IQD IR IRR IS ISK IT EUR JM JMD JO JOD JP JPY KE KES KG KGS KH KHR
    KI AUD KN XCD KP KPW KR KRW KZ KZT LA LAK LB LBP LC XCD LK LKR LS LSL LT EUR LU EUR LV EUR LY LYD MA MAD MD MDL
    ME EUR MG MGA MH USD MK MKD ML XOF MM MMK MN MNT MR MRU MT EUR MU MUR MW MWK MX MXN MY MYR MZ MZN NA NAD NE XOF
    NG NGN NI NIO NL EUR NO NOK NP NPR NZ NZD OM OMR PA PAB PE PEN PG PGK PH PHP PK PKR PL PLN PS ILS PT EUR PW USD
    PY PYG QA QAR RO RON RS RSD RU RUB SA SAR SB SBD SC SCR SD SDG SE SEK SG SGD SI EUR SK EUR SM EUR SN XOF SR SRD
    SV USD SY SYP TD XAF TG XOF TH THB TJ TJS TM TMT TN TND TR TRY TZ TZS UA UAH UG UGX US USD UY UYU UZ UZS VA EUR
    VE VES VN VND VU VUV YE YER ZA ZAR ZM ZMW ZW USD";

/// What a tour that costs 1,000 cents in the euro area costs elsewhere, in hundredths of the currency's unit: a static
/// table of about the exchange rates of 2025 times a rough level of prices of the country, not a conversion.
const LEVEL: &str = "
    AED 3600 AFN 35000 ALL 62000 AMD 250000 AOA 600000 ARS 800000 AUD 1850 AZN 1100 BAM 1200 BBD 2200 BDT 60000
    BGN 1250 BHD 350 BOB 4500 BRL 3600 BWP 9000 BYN 2000 BZD 2000 CAD 1600 CDF 1800000 CHF 1250 CLP 750000 CNY 5000
    COP 2200000 CRC 450000 CUP 130000 CVE 80000 CZK 18000 DKK 8500 DOP 38000 DZD 80000 EGP 25000 ERN 10000 ETB 60000
    EUR 1000 FJD 2000 GBP 950 GEL 1800 GHS 8000 GMD 35000 GNF 5000000 GTQ 6000 HNL 16000 HTG 90000 HUF 260000
    IDR 8000000 ILS 4000 INR 45000 IQD 900000 IRR 30000000 ISK 180000 JMD 130000 JOD 650 JPY 130000 KES 70000
    KGS 45000 KHR 2500000 KPW 800000 KRW 1200000 KZT 280000 LAK 11000000 LBP 60000000 LKR 150000 LSL 9000 LYD 4000
    MAD 6500 MDL 12000 MGA 2500000 MKD 35000 MMK 1200000 MNT 2000000 MRU 25000 MUR 32000 MWK 1000000 MXN 13000
    MYR 2800 MZN 45000 NAD 11000 NGN 800000 NIO 20000 NOK 14000 NPR 60000 NZD 1950 OMR 380 PAB 1000 PEN 2500
    PGK 3500 PHP 35000 PKR 120000 PLN 3200 PYG 5000000 QAR 3800 RON 3500 RSD 75000 RUB 50000 SAR 3500 SBD 7500
    SCR 15000 SDG 300000 SEK 11500 SGD 1500 SRD 25000 SYP 6000000 THB 22000 TJS 5500 TMT 2500 TND 1600 TRY 25000
    TZS 1500000 UAH 22000 UGX 2200000 USD 1150 UYU 35000 UZS 6000000 VES 60000 VND 13000000 VUV 110000 XAF 450000
    XCD 2900 XOF 450000 YER 150000 ZAR 11000 ZMW 16000";

fn after<'t>(table: &'t str, key: &str) -> Option<&'t str> {
    let mut words = table.split_ascii_whitespace();
    while let (Some(word), Some(value)) = (words.next(), words.next()) {
        if word == key {
            return Some(value);
        }
    }
    None
}

/// The currency of a country; places that no country has pay in US dollars.
pub(super) fn of_country(country: &str) -> Option<Currency> {
    let code = if country.is_empty() { "USD" } else { after(OF_COUNTRY, country)? };
    code.parse().ok()
}

/// What something costs in a currency that costs so many cents in the euro area, as a pleasant amount.
pub(super) fn price(currency: Currency, euro_cents: i64) -> Option<Money> {
    let level: i64 = after(LEVEL, currency.as_str())?.parse().ok()?;
    // cents x level / 1000 is in hundredths of a unit.
    let exact = Decimal::new(euro_cents.checked_mul(level)?, 5);
    Some(Money::new(pleasant(exact), currency).rounded())
}

/// Two digits that people like and then zeros: 29, 9.5, 130, 2950, 75000.
fn pleasant(amount: Decimal) -> Decimal {
    let mut step = Decimal::new(5, 1);
    let mut limit = Decimal::TEN;
    while amount >= limit {
        step = if step == Decimal::new(5, 1) {
            Decimal::ONE
        } else if step == Decimal::ONE {
            Decimal::from(5)
        } else {
            step * Decimal::TEN
        };
        limit *= Decimal::TEN;
    }
    ((amount / step).round().max(Decimal::ONE) * step).normalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_currency_of_a_country_has_a_level() {
        let codes: Vec<_> = OF_COUNTRY.split_ascii_whitespace().collect();
        for pair in codes.chunks(2) {
            let currency = of_country(pair[0]).unwrap_or_else(|| panic!("{pair:?}"));
            let price = price(currency, 2900).unwrap_or_else(|| panic!("{pair:?} has no level"));
            assert!(price.is_positive());
        }
    }

    #[test]
    fn prices_are_pleasant() {
        for (currency, cents, amount) in [
            ("EUR", 2900, "29"),
            ("JPY", 2900, "3750"),
            ("KWD", 2900, ""),
            ("JOD", 2900, "19"),
            ("EUR", 950, "9.5"),
            ("VND", 2900, "375000"),
            ("EUR", 24900, "250"),
        ] {
            let made = price(currency.parse().unwrap(), cents).map(|m| m.amount().normalize().to_string());
            assert_eq!(made.unwrap_or_default(), amount, "{currency}");
        }
    }
}
