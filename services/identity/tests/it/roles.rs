//! What staff may grant, and when it takes effect.

use jsonwebtoken::{DecodingKey, Validation};
use tonic::{Code, Request};
use tourmesh::{
    identity::v1::{RefreshRequest, SetRolesRequest},
    options::v1::Role,
};
use tourmesh_identity::{DemoAccount, ensure_account};
use tourmesh_kit::{auth::Claims, db::Db};
use tourmesh_testkit::{World, bearer, reason};

use crate::{PASSWORD, room, sign_in, sign_up, start};

const SUPPLIER: &str = "sup_0123456789abcdef0123456789abcdef";
const STAFF: &str = "usr_0123456789abcdef0123456789abcdef";

fn claims(token: &str) -> Claims {
    jsonwebtoken::dangerous::insecure_decode::<Claims>(token).unwrap().claims
}

async fn as_staff(request: SetRolesRequest) -> Request<SetRolesRequest> {
    bearer(request, &World::get().await.token(STAFF, &[Role::Staff], None))
}

fn to_supplier(user_id: &str) -> SetRolesRequest {
    SetRolesRequest {
        request_id: "promote".to_owned(),
        user_id: user_id.to_owned(),
        roles: vec![Role::Supplier.into(), Role::Traveller.into(), Role::Supplier.into()],
        supplier_id: SUPPLIER.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_roles_are_in_the_next_token() {
    let room = room().await;
    let (_running, mut client) = start(&room).await;
    let answer = sign_up(&mut client, "worker@example.org").await;
    let (user, tokens) = (answer.user.unwrap(), answer.tokens.unwrap());
    let before = claims(&tokens.access_token);
    assert_eq!((before.roles, before.sup), (vec!["traveller".to_owned()], None));

    let set = client.set_roles(as_staff(to_supplier(&user.id)).await).await.unwrap().into_inner().user.unwrap();
    assert_eq!(set.roles, [i32::from(Role::Traveller), i32::from(Role::Supplier)], "each once, in order");
    assert_eq!(set.supplier_id, SUPPLIER);
    let next = client.refresh(RefreshRequest { refresh_token: tokens.refresh_token }).await.unwrap().into_inner();
    let after = claims(&next.tokens.unwrap().access_token);
    assert_eq!(
        (after.roles, after.sup.as_deref()),
        (vec!["traveller".to_owned(), "supplier".to_owned()], Some(SUPPLIER))
    );

    // A repeat changes nothing, also after somebody else has changed it; other content is refused.
    let back = SetRolesRequest {
        request_id: "demote".to_owned(),
        roles: vec![Role::Traveller.into()],
        supplier_id: String::new(),
        ..to_supplier(&user.id)
    };
    client.set_roles(as_staff(back.clone()).await).await.unwrap();
    let repeat = client.set_roles(as_staff(to_supplier(&user.id)).await).await.unwrap().into_inner().user.unwrap();
    assert_eq!(repeat.roles, [i32::from(Role::Traveller)]);
    let other = SetRolesRequest { request_id: "promote".to_owned(), ..back };
    let refused = client.set_roles(as_staff(other).await).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "REQUEST_ID_REUSED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_granted_is_named() {
    let room = room().await;
    let (_running, mut client) = start(&room).await;
    let user = sign_up(&mut client, "target@example.org").await.user.unwrap();
    let good = to_supplier(&user.id);
    for (bad, field) in [
        (SetRolesRequest { roles: vec![], ..good.clone() }, "roles"),
        (SetRolesRequest { roles: vec![Role::Service.into()], ..good.clone() }, "roles[0]"),
        (SetRolesRequest { roles: vec![Role::Staff.into(), 99], ..good.clone() }, "roles[1]"),
        (SetRolesRequest { supplier_id: String::new(), ..good.clone() }, "supplier_id"),
        (SetRolesRequest { roles: vec![Role::Staff.into()], ..good.clone() }, "supplier_id"),
        (
            SetRolesRequest { supplier_id: "usr_0123456789abcdef0123456789abcdef".to_owned(), ..good.clone() },
            "supplier_id",
        ),
    ] {
        let refused = client.set_roles(as_staff(bad).await).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
        assert!(refused.message().contains(field), "{field}: {}", refused.message());
    }
    let nobody = SetRolesRequest { user_id: STAFF.to_owned(), ..good.clone() };
    let refused = client.set_roles(as_staff(nobody).await).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "USER_NOT_FOUND"));
    let traveller = World::get().await.token(&user.id, &[Role::Traveller], None);
    let refused = client.set_roles(bearer(good, &traveller)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "ROLE_MISSING"));
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM requests").fetch_one(&room.pool().await).await.unwrap();
    assert_eq!(left, 0, "a refused request is not remembered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_account_is_made_once_and_can_sign_in() {
    let room = room().await;
    let (_running, mut client) = start(&room).await;
    let db = Db::of_env(&room.env()).unwrap();
    let account = DemoAccount {
        email: "Guide@Example.org".to_owned(),
        password: PASSWORD.to_owned(),
        full_name: "Demo guide".to_owned(),
        roles: vec![Role::Traveller, Role::Supplier],
        supplier_id: Some(SUPPLIER.to_owned()),
    };
    let id = ensure_account(&db, account.clone()).await.unwrap();
    assert_eq!(ensure_account(&db, account.clone()).await.unwrap(), id);
    let staff = DemoAccount { roles: vec![Role::Staff], supplier_id: None, ..account };
    assert_eq!(ensure_account(&db, staff).await.unwrap(), id);
    let answer = client.sign_in(sign_in("guide@example.org", PASSWORD)).await.unwrap().into_inner();
    let user = answer.user.unwrap();
    assert_eq!((user.id, user.roles), (id.to_string(), vec![i32::from(Role::Staff)]));
    let token = answer.tokens.unwrap().access_token;
    let header = jsonwebtoken::decode_header(&token).unwrap();
    assert!(header.kid.is_some());
    // A token that nobody signed is not one.
    let forged =
        jsonwebtoken::decode::<Claims>(&token, &DecodingKey::from_ed_der(&[0; 32]), &Validation::new(header.alg));
    assert!(forged.is_err());
}
