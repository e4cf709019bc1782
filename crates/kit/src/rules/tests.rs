mod shapes;

use proptest::prelude::*;
use prost::Message;
use prost_types::{FieldMask, Timestamp};
use tonic::Status;
use tonic_types::StatusExt as _;
use tourmesh::{
    booking::v1::{CheckAvailabilityRequest, Contact, CreateBookingRequest, ListBookingsRequest},
    catalog::v1::{
        CreateScheduleRequest, CreateSupplierRequest, Near, Schedule, SearchToursRequest, Supplier,
        UpdateDepartureRequest,
    },
    common::v1::{ErrorReason, UnitQuantity},
    google::r#type::{LatLng, Money},
    identity::v1::SignUpRequest,
    payment::v1::{HandleProviderEventRequest, RefundPaymentRequest},
};

use super::*;
use crate::error::ApiError;

const CREATE_BOOKING: &str = "/tourmesh.booking.v1.BookingService/CreateBooking";
const CHECK: &str = "/tourmesh.booking.v1.BookingService/CheckAvailability";
const LIST: &str = "/tourmesh.booking.v1.BookingService/ListBookings";
const SEARCH: &str = "/tourmesh.catalog.v1.CatalogService/SearchTours";
const REFUND: &str = "/tourmesh.payment.v1.PaymentService/RefundPayment";
const EVENT: &str = "/tourmesh.payment.v1.PaymentService/HandleProviderEvent";
const SIGN_UP: &str = "/tourmesh.identity.v1.IdentityService/SignUp";
const CREATE_SUPPLIER: &str = "/tourmesh.catalog.v1.CatalogAdminService/CreateSupplier";
const CREATE_SCHEDULE: &str = "/tourmesh.catalog.v1.CatalogAdminService/CreateSchedule";
const UPDATE_DEPARTURE: &str = "/tourmesh.catalog.v1.CatalogAdminService/UpdateDeparture";

fn validate(path: &str, bytes: &[u8]) -> ApiResult<()> {
    Rules::compiled().method(path).unwrap_or_else(|| panic!("{path}")).validate(bytes)
}

/// The violations as a caller gets them.
fn told(result: ApiResult<()>) -> Vec<(String, String)> {
    let Err(error) = result else {
        return Vec::new();
    };
    assert_eq!(error.reason(), ErrorReason::FieldInvalid, "{error}");
    let details = Status::from(error).get_error_details();
    let bad = details.bad_request().unwrap().field_violations.clone();
    bad.into_iter().map(|v| (v.field, v.description)).collect()
}

fn problems(path: &str, message: &impl Message) -> Vec<(String, String)> {
    told(validate(path, &message.encode_to_vec()))
}

fn is_malformed(error: &ApiError) -> bool {
    error.reason() == ErrorReason::MalformedRequest
}

fn id(prefix: &str) -> String {
    format!("{prefix}_0123456789abcdef0123456789abcdef")
}

fn booking() -> CreateBookingRequest {
    CreateBookingRequest {
        request_id: "8b1f-1".to_owned(),
        departure_id: id("dep"),
        units: vec![UnitQuantity { unit: 1, quantity: 2 }, UnitQuantity { unit: 3, quantity: 1 }],
        contact: Some(Contact {
            full_name: "Ana Lopes".to_owned(),
            email: "ana@example.com".to_owned(),
            language: "fr".to_owned(),
        }),
        promo_code: "SUMMER-10".to_owned(),
    }
}

fn refund(currency: &str, units: i64, nanos: i32) -> RefundPaymentRequest {
    RefundPaymentRequest {
        request_id: "r".to_owned(),
        payment_id: id("pay"),
        amount: Some(Money { currency_code: currency.to_owned(), units, nanos }),
        reason: String::new(),
    }
}

fn supplier(created_at: Option<Timestamp>) -> CreateSupplierRequest {
    CreateSupplierRequest {
        request_id: "r".to_owned(),
        supplier: Some(Supplier {
            name: "Walks".to_owned(),
            contact_email: "a@b".to_owned(),
            created_at,
            ..Supplier::default()
        }),
    }
}

#[test]
fn the_descriptors_compile_so_nobody_is_refused_for_want_of_rules() {
    let rules = Rules::of(tourmesh::DESCRIPTORS).unwrap();
    assert!(rules.methods().count() > 30);
    assert_eq!(Rules::compiled().methods().count(), rules.methods().count());
    let method = rules.method(CREATE_BOOKING).unwrap();
    assert_eq!(method.path(), CREATE_BOOKING);
    assert_eq!((method.service(), method.name()), ("tourmesh.booking.v1.BookingService", "CreateBooking"));
    assert_eq!(*method.access(), Access::Roles(vec![Role::Traveller, Role::Staff]));
    assert!(method.is_repeatable() && method.has_side_effects());
    assert!(!method.is_server_streaming() && !method.is_client_streaming());
    assert!(rules.method("/tourmesh.booking.v1.BookingService/WatchDeparture").unwrap().is_server_streaming());
    assert!(!rules.method(LIST).unwrap().has_side_effects());
    assert!(!rules.method("/tourmesh.identity.v1.IdentityService/SignIn").unwrap().is_repeatable());
    assert!(rules.method("/tourmesh.booking.v1.BookingService/Steal").is_none());
}

#[test]
fn unreadable_descriptors_are_an_error_and_no_rules_at_all() {
    assert!(Rules::of(b"nonsense").is_err());
    assert!(Rules::of(b"").is_err(), "the options are not declared");
    assert!(Rules::default().method(CREATE_BOOKING).is_none());
}

#[test]
fn access_is_for_the_roles_named_and_nobody_by_default() {
    assert!(!Access::Nobody.allows(&[Role::Staff, Role::Service]));
    assert!(Access::Public.allows(&[]));
    let staff = Access::of(&AccessRule { public: false, roles: vec![Role::Staff as i32, 0, 99] });
    assert_eq!(staff, Access::Roles(vec![Role::Staff]));
    assert!(staff.allows(&[Role::Traveller, Role::Staff]));
    assert!(!staff.allows(&[Role::Traveller]) && !staff.allows(&[]) && !staff.allows(&[Role::Unspecified]));
    let unspecified = AccessRule { public: false, roles: vec![0] };
    assert_eq!(Access::of(&unspecified), Access::Nobody);
}

#[test]
fn every_rpc_of_the_api_has_an_access_rule() {
    for method in Rules::compiled().methods() {
        assert_ne!(*method.access(), Access::Nobody, "{}", method.path());
    }
}

#[test]
fn every_rpc_that_changes_something_has_a_request_id() {
    #[rustfmt::skip]
    let without = [
        ("SignIn", "each call opens a session of its own; it is not repeatable"),
        ("Refresh", "the refresh token works once, which is its request id"),
        ("SignOut", "ending an ended session changes nothing"),
        ("HandleProviderEvent", "the provider's own event id, inside the signed body, tells repeats apart"),
        ("CompleteChallenge", "a challenge is answered once, whatever is repeated"),
        ("Unsubscribe", "the signed link is the key: stopping what is stopped changes nothing"),
    ];
    let pool = DescriptorPool::decode(tourmesh::DESCRIPTORS).unwrap();
    let mut found = Vec::new();
    for method in pool.services().flat_map(|s| s.methods().collect::<Vec<_>>()) {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let changes = Rules::compiled().method(&path).unwrap().has_side_effects();
        let field = method.input().get_field_by_name("request_id");
        assert!(changes || field.is_none(), "{path} changes nothing and needs no request_id");
        if changes && field.is_none() {
            found.push(method.name().to_owned());
        } else if changes {
            // An empty request tells whether the field is required.
            let violations = told(Rules::compiled().method(&path).unwrap().validate(b""));
            assert!(violations.contains(&("request_id".to_owned(), "must be set".to_owned())), "{path}");
        }
    }
    found.sort();
    let mut expected = without.map(|(name, _)| name.to_owned());
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn no_message_of_the_api_has_a_map_a_group_or_too_many_fields() {
    let pool = DescriptorPool::decode(tourmesh::DESCRIPTORS).unwrap();
    for message in pool.all_messages().filter(|m| m.full_name().starts_with("tourmesh.")) {
        assert!(message.fields().len() <= plan::MAX_FIELDS, "{}", message.full_name());
        for field in message.fields() {
            assert!(!field.is_map() && !field.is_group(), "{}", field.full_name());
        }
    }
}

#[test]
fn good_requests_pass() {
    assert_eq!(problems(CREATE_BOOKING, &booking()), []);
    assert_eq!(problems(LIST, &ListBookingsRequest::default()), []);
    assert_eq!(problems(LIST, &ListBookingsRequest { states: vec![1, 7], page_size: 100, ..Default::default() }), []);
    assert_eq!(problems(REFUND, &refund("EUR", 12, 500_000_000)), []);
    assert_eq!(problems(CREATE_SUPPLIER, &supplier(Some(Timestamp { seconds: -1, nanos: 999_999_999 }))), []);
    let search = SearchToursRequest {
        query: "é".repeat(200),
        near: Some(Near { center: Some(LatLng { latitude: -90.0, longitude: 180.0 }), radius_meters: 1 }),
        countries: vec!["FR".to_owned(), "GB".to_owned()],
        date_from: "2026-12-31".to_owned(),
        ..Default::default()
    };
    assert_eq!(problems(SEARCH, &search), []);
    let event = HandleProviderEventRequest {
        provider: "sandbox".to_owned(),
        body: vec![0xff; 262_144].into(),
        signature: "s".to_owned(),
    };
    assert_eq!(problems(EVENT, &event), []);
    let update = UpdateDepartureRequest {
        request_id: "r".to_owned(),
        departure_id: id("dep"),
        update_mask: Some(FieldMask { paths: vec!["capacity".to_owned()] }),
        ..Default::default()
    };
    assert_eq!(problems(UPDATE_DEPARTURE, &update), []);
}

/// Paths and problems.
type Told = &'static [(&'static str, &'static str)];
/// A method, a request, and what is wrong with it.
type Case = (&'static str, Vec<u8>, Told);

fn bad_bookings() -> Vec<Case> {
    let with = |change: &dyn Fn(&mut CreateBookingRequest)| {
        let mut request = booking();
        change(&mut request);
        request.encode_to_vec()
    };
    let contact = |change: &dyn Fn(&mut Contact)| with(&|r| change(r.contact.as_mut().unwrap()));
    #[rustfmt::skip]
    let cases: Vec<(Vec<u8>, Told)> = vec![
        (vec![],
            &[("request_id", "must be set"), ("departure_id", "must be set"),
            ("units", "must have between 1 and 9 items"), ("contact", "must be set")]),
        (with(&|r| r.request_id = "a b".into()),
            &[("request_id", "must be 1 to 64 characters of A-Z a-z 0-9 . _ : -")]),
        (with(&|r| r.departure_id = id("tour")),
            &[("departure_id", "must be \"dep_\" and 32 lower-case hexadecimal digits")]),
        (with(&|r| r.departure_id = id("dep").to_uppercase()),
            &[("departure_id", "must be \"dep_\" and 32 lower-case hexadecimal digits")]),
        (with(&|r| r.units.clear()), &[("units", "must have between 1 and 9 items")]),
        (with(&|r| r.units = vec![r.units[0]; 10]), &[("units", "must have between 1 and 9 items")]),
        (with(&|r| r.units[1].quantity = 101), &[("units[1].quantity", "must be between 1 and 100")]),
        (with(&|r| r.units[1].quantity = -1), &[("units[1].quantity", "must be between 1 and 100")]),
        (with(&|r| r.units[0].quantity = 0), &[("units[0].quantity", "must be set")]),
        (with(&|r| r.units[0].unit = 0), &[("units[0].unit", "must be set")]),
        (with(&|r| r.units[0].unit = 10), &[("units[0].unit", "is not a value of UnitType")]),
        (with(&|r| r.units[0].unit = -1), &[("units[0].unit", "is not a value of UnitType")]),
        (with(&|r| r.contact = None), &[("contact", "must be set")]),
        (contact(&|c| c.email = "ana".into()), &[("contact.email", "must be an e-mail address")]),
        (contact(&|c| c.full_name = "é".repeat(201)), &[("contact.full_name", "must have at most 200 characters")]),
        (contact(&|c| c.full_name = "a\0b".into()),
            &[("contact.full_name", "must not contain the character U+0000")]),
        (contact(&|c| c.language = "de".into()), &[("contact.language", "must be \"en\" or \"fr\"")]),
        (contact(&|c| { c.email.clear(); c.language = "de".into() }),
            &[("contact.email", "must be set"), ("contact.language", "must be \"en\" or \"fr\"")]),
    ];
    cases.into_iter().map(|(bytes, told)| (CREATE_BOOKING, bytes, told)).collect()
}

fn bad_others() -> Vec<Case> {
    let search = |change: &dyn Fn(&mut SearchToursRequest)| {
        let mut request = SearchToursRequest::default();
        change(&mut request);
        request.encode_to_vec()
    };
    let near = |latitude, longitude| {
        let center = Some(LatLng { latitude, longitude });
        search(&|r| r.near = Some(Near { center, radius_meters: 5 }))
    };
    let list = |change: &dyn Fn(&mut ListBookingsRequest)| {
        let mut request = ListBookingsRequest::default();
        change(&mut request);
        request.encode_to_vec()
    };
    let sign_up = |password: &str| {
        let request = SignUpRequest {
            request_id: "r".to_owned(),
            email: "a@b".to_owned(),
            password: password.to_owned(),
            full_name: "A".to_owned(),
            language: String::new(),
        };
        request.encode_to_vec()
    };
    let schedule = |change: &dyn Fn(&mut Schedule)| {
        let mut schedule =
            Schedule { weekdays: vec![1], start_times: vec!["09:00".to_owned()], capacity: 5, ..Schedule::default() };
        change(&mut schedule);
        CreateScheduleRequest { request_id: "r".to_owned(), schedule: Some(schedule) }.encode_to_vec()
    };
    let body = |body: Vec<u8>| {
        HandleProviderEventRequest { provider: "p".to_owned(), body: body.into(), signature: "s".to_owned() }
            .encode_to_vec()
    };
    let check = |departure_ids: Vec<String>| CheckAvailabilityRequest { departure_ids }.encode_to_vec();
    let mask = |paths: usize| {
        let request = UpdateDepartureRequest {
            request_id: "r".to_owned(),
            departure_id: id("dep"),
            state: 9,
            version: -1,
            update_mask: Some(FieldMask { paths: vec!["state".to_owned(); paths] }),
            ..Default::default()
        };
        request.encode_to_vec()
    };
    #[rustfmt::skip]
    let cases: Vec<Case> = vec![
        (CHECK, check(vec![]), &[("departure_ids", "must have between 1 and 100 items")]),
        (CHECK, check(vec![id("dep"), "dep_1".into()]),
            &[("departure_ids[1]", "must be \"dep_\" and 32 lower-case hexadecimal digits")]),
        (CHECK, check(vec![String::new()]),
            &[("departure_ids[0]", "must be \"dep_\" and 32 lower-case hexadecimal digits")]),
        (CHECK, check(vec![id("dep"); 101]), &[("departure_ids", "must have between 1 and 100 items")]),
        (LIST, list(&|r| r.page_size = 101), &[("page_size", "must be between 0 and 100")]),
        (LIST, list(&|r| r.page_size = -1), &[("page_size", "must be between 0 and 100")]),
        (LIST, list(&|r| r.states = vec![1, 8]), &[("states[1]", "is not a value of BookingState")]),
        (LIST, list(&|r| r.states = vec![1; 11]), &[("states", "must have at most 10 items")]),
        (LIST, list(&|r| r.page_token = "x".repeat(1025)), &[("page_token", "must have at most 1024 characters")]),
        (SEARCH, near(90.1, 0.0), &[("near.center.latitude", "must be between -90 and 90")]),
        (SEARCH, near(0.0, f64::NAN), &[("near.center.longitude", "must be between -180 and 180")]),
        (SEARCH, near(f64::NEG_INFINITY, -180.1),
            &[("near.center.latitude", "must be between -90 and 90"),
              ("near.center.longitude", "must be between -180 and 180")]),
        (SEARCH, search(&|r| r.near = Some(Near::default())),
            &[("near.center", "must be set"), ("near.radius_meters", "must be set")]),
        (SEARCH, search(&|r| r.countries = vec!["FR".into(), "UK".into(), "".into()]),
            &[("countries[1]", "must be an ISO 3166-1 alpha-2 country code, such as FR"),
              ("countries[2]", "must be an ISO 3166-1 alpha-2 country code, such as FR")]),
        (SEARCH, search(&|r| r.date_to = "2026-02-30".into()), &[("date_to", "must be a date such as 2026-12-31")]),
        (SEARCH, search(&|r| r.min_price = Some(Money::default())),
            &[("min_price", "is not an amount: \"\" is not an ISO 4217 currency in use, such as EUR")]),
        (REFUND, refund("EUR", 1, -1).encode_to_vec(),
            &[("amount", "is not an amount: units and nanos must have the same sign, \
                and nanos lie between -999,999,999 and 999,999,999")]),
        (REFUND, refund("JPY", 1, 500_000_000).encode_to_vec(),
            &[("amount", "is not an amount: JPY has no more than 0 decimals")]),
        (REFUND, refund("EUR", i64::MIN, 0).encode_to_vec(),
            &[("amount", "is not an amount: the amount is too large")]),
        (REFUND, RefundPaymentRequest { amount: None, ..refund("EUR", 1, 0) }.encode_to_vec(),
            &[("amount", "must be set")]),
        (CREATE_SUPPLIER, supplier(Some(Timestamp { seconds: 253_402_300_800, nanos: 0 })).encode_to_vec(),
            &[("supplier.created_at.seconds", "must be between -62135596800 and 253402300799")]),
        (CREATE_SUPPLIER, supplier(Some(Timestamp { seconds: 0, nanos: -1 })).encode_to_vec(),
            &[("supplier.created_at.nanos", "must be between 0 and 999999999")]),
        (SIGN_UP, sign_up("123456789"), &[("password", "must have between 10 and 200 characters")]),
        (SIGN_UP, sign_up(&"é".repeat(9)), &[("password", "must have between 10 and 200 characters")]),
        (CREATE_SCHEDULE, schedule(&|s| s.start_times.push("9:00".into())),
            &[("schedule.start_times[1]", "must be a time of day such as 09:00")]),
        (CREATE_SCHEDULE, schedule(&|s| s.id = "x".repeat(513)),
            &[("schedule.id", "must have at most 512 characters")]),
        (EVENT, body(vec![]), &[("body", "must be set")]),
        (EVENT, body(vec![1; 262_145]), &[("body", "must have at most 262144 bytes")]),
        (UPDATE_DEPARTURE, mask(101), &[("update_mask.paths", "must have at most 100 items"),
            ("state", "is not a value of DepartureState"), ("version", "must be at least 0")]),
    ];
    cases
}

#[test]
fn bad_fields_are_named_with_what_is_wanted() {
    for (path, bytes, expected) in bad_bookings().into_iter().chain(bad_others()) {
        let told = told(validate(path, &bytes));
        let told: Vec<_> = told.iter().map(|(f, p)| (f.as_str(), p.as_str())).collect();
        assert_eq!(told, expected, "{path}");
    }
}

#[test]
fn a_caller_who_sends_nothing_but_bad_items_gets_twenty_violations() {
    let request = CheckAvailabilityRequest { departure_ids: vec!["x".to_owned(); 90] };
    let told = problems(CHECK, &request);
    assert_eq!(told.len(), 20);
    assert_eq!(told[19].0, "departure_ids[19]");
}

#[test]
fn of_a_single_value_that_comes_twice_the_last_one_counts() {
    let list = |page_size| ListBookingsRequest { page_size, ..Default::default() }.encode_to_vec();
    assert_eq!(told(validate(LIST, &[list(500), list(5)].concat())), []);
    assert_eq!(told(validate(LIST, &[list(5), list(500)].concat())).len(), 1);
    // Each of two contacts is checked, although a decoder would merge them.
    let lone = |contact| CreateBookingRequest { contact, ..Default::default() }.encode_to_vec();
    let bytes = [lone(Some(Contact::default())), booking().encode_to_vec()].concat();
    let told = told(validate(CREATE_BOOKING, &bytes));
    assert_eq!(told.iter().map(|(f, _)| f.as_str()).collect::<Vec<_>>(), ["contact.full_name", "contact.email"]);
}

#[test]
fn lists_of_numbers_may_be_packed_or_not() {
    // states = 2: packed, single, packed, and an item out of each.
    let bytes = [0x12, 0x02, 0x01, 0x02, 0x10, 0x09, 0x12, 0x01, 0x0b];
    let told = told(validate(LIST, &bytes));
    assert_eq!(told.iter().map(|(f, _)| f.as_str()).collect::<Vec<_>>(), ["states[2]", "states[3]"]);
}

#[test]
fn numbers_are_read_as_decoders_read_them() {
    // page_size = 5 with rubbish above the 32 bits that an int32 has.
    let bytes = [0x18, 0x85, 0x80, 0x80, 0x80, 0xf0, 0x01];
    assert_eq!(ListBookingsRequest::decode(&bytes[..]).unwrap().page_size, 5);
    assert_eq!(told(validate(LIST, &bytes)), []);
}

#[test]
fn bytes_that_are_not_the_message_are_malformed_and_name_the_field() {
    #[rustfmt::skip]
    let table: &[(&str, &[u8], &str)] = &[
        (CREATE_BOOKING, &[0x0a], "request_id: the bytes end too early"),
        (CREATE_BOOKING, &[0x0a, 0x05, b'a'], "request_id: the bytes end too early"),
        (CREATE_BOOKING, &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            "request_id: the bytes end too early"),
        (CREATE_BOOKING, &[0x0a, 0x02, 0xc3, 0x28], "request_id: the text is not UTF-8"),
        (CREATE_BOOKING, &[0x0a, 0x01, 0xff, 0x0a, 0x01, b'a'], "request_id: the text is not UTF-8"),
        (CREATE_BOOKING, &[0x22, 0x04, 0x12, 0x02, b'a', 0xff], "contact.email: the text is not UTF-8"),
        (CREATE_BOOKING, &[0x1a, 0x00, 0x1a, 0x02, 0x10, 0x80], "units[1].quantity: the bytes end too early"),
        (CREATE_BOOKING, &[0x1a, 0x02, 0x12, 0x00], "units[0].quantity: the wire type is not the one of the field"),
        (CREATE_BOOKING, &[0x08, 0x01], "request_id: the wire type is not the one of the field"),
        (CREATE_BOOKING, &[0x20, 0x01], "contact: the wire type is not the one of the field"),
        (CREATE_BOOKING, &[0x0b, 0x0c], "request_id: groups are not supported"),
        (CREATE_BOOKING, &[0x7b, 0x7c], "the request: groups are not supported"),
        (CREATE_BOOKING, &[0x7c], "the request: groups are not supported"),
        (CREATE_BOOKING, &[0x80], "the request: the bytes end too early"),
        (CREATE_BOOKING, &[0x7a, 0x02, 0x00], "the request: the bytes end too early"),
        (CREATE_BOOKING, &[0x7d, 0x00, 0x00, 0x00], "the request: the bytes end too early"),
        (CREATE_BOOKING, &[0x00, 0x00], "the request: a field number or a wire type does not exist"),
        (CREATE_BOOKING, &[0x0f], "the request: a field number or a wire type does not exist"),
        (CREATE_BOOKING, &[0x80, 0x80, 0x80, 0x80, 0x10, 0x00],
            "the request: a field number or a wire type does not exist"),
        (LIST, &[0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "page_size: a varint is broken"),
        (LIST, &[0x12, 0x02, 0x01, 0x80], "states[0]: the bytes end too early"),
        (LIST, &[0x1a, 0x01, 0x01], "page_size: the wire type is not the one of the field"),
        (SEARCH, &[0x12, 0x06, 0x0a, 0x04, 0x09, 0x00, 0x00, 0x00], "near.center.latitude: the bytes end too early"),
    ];
    for (path, bytes, message) in table {
        let error = validate(path, bytes).unwrap_err();
        assert_eq!((error.reason(), error.message()), (ErrorReason::MalformedRequest, *message), "{bytes:x?}");
    }
}

#[test]
fn fields_of_newer_clients_are_skipped() {
    let mut bytes = booking().encode_to_vec();
    bytes.extend([0x78, 0x96, 0x01]); // 15: varint
    bytes.extend([0x79, 0, 0, 0, 0, 0, 0, 0, 0]); // 15: eight bytes
    bytes.extend([0x7a, 0x02, 0xff, 0xff]); // 15: bytes
    bytes.extend([0x7d, 0, 0, 0, 0]); // 15: four bytes
    bytes.extend([0xf8, 0xff, 0xff, 0xff, 0x0f, 0x00]); // the greatest number
    assert_eq!(told(validate(CREATE_BOOKING, &bytes)), []);
}

/// Whatever the bytes are, we and prost agree on whether they are the message; only groups we refuse and prost skips.
fn agrees_with_prost<M: Message + Default>(path: &str, bytes: &[u8]) -> Result<(), TestCaseError> {
    match (M::decode(bytes), validate(path, bytes)) {
        (Err(e), result) => prop_assert!(result.as_ref().is_err_and(is_malformed), "prost: {e}; we: {result:?}"),
        (Ok(_), Err(e)) if is_malformed(&e) => {
            prop_assert!(e.message().ends_with("groups are not supported"), "{e}")
        }
        (Ok(_), _) => {}
    }
    Ok(())
}

fn party() -> impl Strategy<Value = Vec<UnitQuantity>> {
    let unit = (1..=9, 1..=100).prop_map(|(unit, quantity)| UnitQuantity { unit, quantity });
    prop::collection::vec(unit, 1..=9)
}

/// What a rule for whole numbers leaves, and what lies just and far beside it.
fn around() -> impl Strategy<Value = i32> {
    prop_oneof![any::<i32>(), -2..=102_i32]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic_on_any_method(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for method in Rules::compiled().methods() {
            if let Err(error) = method.validate(&bytes) {
                prop_assert!(matches!(error.reason(), ErrorReason::MalformedRequest | ErrorReason::FieldInvalid));
            }
        }
        agrees_with_prost::<CreateBookingRequest>(CREATE_BOOKING, &bytes)?;
        agrees_with_prost::<SearchToursRequest>(SEARCH, &bytes)?;
    }

    #[test]
    fn damaged_requests_are_malformed_exactly_when_prost_says_so(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let search = SearchToursRequest {
            query: "paris".to_owned(),
            near: Some(Near { center: Some(LatLng { latitude: 1.0, longitude: 2.0 }), radius_meters: 5 }),
            min_price: Some(Money { currency_code: "EUR".to_owned(), units: -1, nanos: 0 }),
            categories: vec![1, 2],
            ..Default::default()
        };
        let (mut booking, mut search) = (booking().encode_to_vec(), search.encode_to_vec());
        for bytes in [&mut booking, &mut search] {
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            if damage.len() == 3 {
                bytes.truncate(cut.index(bytes.len()));
            }
        }
        agrees_with_prost::<CreateBookingRequest>(CREATE_BOOKING, &booking)?;
        agrees_with_prost::<SearchToursRequest>(SEARCH, &search)?;
    }

    #[test]
    fn whatever_keeps_the_rules_passes(
        request_id in "[A-Za-z0-9._:-]{1,64}",
        hex in "[0-9a-f]{32}",
        units in party(),
        full_name in "[^\0]{1,200}",
        email in "[^@\\s\\pC]{1,40}@[a-z0-9é-]{1,20}(\\.[a-z]{2,8}){0,3}",
        language in "(en|fr)?",
    ) {
        let contact = Some(Contact { full_name, email, language });
        let departure_id = format!("dep_{hex}");
        let request = CreateBookingRequest { request_id, departure_id, units, contact, ..Default::default() };
        prop_assert_eq!(problems(CREATE_BOOKING, &request), []);
    }

    #[test]
    fn a_rule_is_broken_exactly_when_the_decoded_value_breaks_it(
        page_size in around(),
        states in prop::collection::vec(-1..=9_i32, 0..14),
        page_token in "[a-zé]{0,8}",
        times in 1..200_usize,
    ) {
        let page_token = page_token.repeat(times);
        let bad_states = states.iter().filter(|s| !(0..=7).contains(*s)).count();
        let expected = bad_states
            + usize::from(states.len() > 10)
            + usize::from(!(0..=100).contains(&page_size))
            + usize::from(page_token.chars().count() > 1024);
        let request = ListBookingsRequest { departure_id: String::new(), states, page_size, page_token };
        prop_assert_eq!(problems(LIST, &request).len(), expected);
    }

    #[test]
    fn an_amount_passes_exactly_when_money_reads_it(
        currency in prop::sample::select(vec!["EUR", "JPY", "KWD", "XXX", ""]),
        units in prop_oneof![any::<i64>(), -3..3_i64],
        nanos in prop_oneof![any::<i32>(), Just(0), Just(500_000_000), Just(-500_000_000)],
    ) {
        let request = refund(currency, units, nanos);
        let fits = crate::money::Money::of_wire(request.amount.as_ref().unwrap()).is_ok();
        prop_assert_eq!(problems(REFUND, &request).is_empty(), fits);
    }
}
