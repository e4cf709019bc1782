//! Promo codes on waiting lists: the offer is made with the code, or without it where it cannot be used any more.

use tonic::Status;
use tourmesh::booking::v1::{self as pb, WaitingState};
use tourmesh_testkit::{bearer, eventually, reason};

use crate::{
    promos::{code, percent},
    scene::{Person, Scene, euros, wish},
};

impl Scene {
    async fn wait_with(
        &self,
        person: &Person,
        (departure, tour): (&str, &str),
        adults: i32,
        promo_code: &str,
    ) -> Result<pb::WaitingEntry, Status> {
        let pb::CreateBookingRequest { units, contact, .. } = wish("", "", adults);
        let request = pb::JoinWaitingListRequest {
            request_id: crate::scene::id("r"),
            departure_id: departure.into(),
            tour_id: tour.into(),
            units,
            contact,
            promo_code: promo_code.into(),
            ..Default::default()
        };
        Ok(self.client().join_waiting_list(bearer(request, person.token())).await?.into_inner().entry.unwrap())
    }

    /// The only entry of somebody, and its offer.
    async fn offered(&self, person: &Person) -> (pb::WaitingEntry, pb::Booking) {
        eventually(|| async { self.waiting(person, "").await[0].state() == WaitingState::Offered }).await;
        let entry = self.waiting(person, "").await.remove(0);
        let booking = self.get(person, &entry.booking_id).await.unwrap();
        (entry, booking)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_with_a_code_is_offered_the_discount_while_there_are_uses_and_told_when_there_are_none() {
    let scene = Scene::new().await;
    let [ada, bob, cyd, dan] = [(); 4].map(|()| scene.traveller());
    let half = scene.code(pb::PromoCode { max_uses: 1, ..code(&scene, "HALF", percent("50")) }).await;
    let departure = scene.departure(3);
    let sold = scene.book(&ada, &departure, 3).await.unwrap();
    let entry = scene.wait_with(&bob, (&departure, ""), 1, "half").await.unwrap();
    assert_eq!((entry.promo_code.as_str(), entry.total), ("HALF", Some(euros(3_000))));
    scene.wait_with(&cyd, (&departure, ""), 1, "HALF").await.unwrap();
    scene.wait_with(&dan, (&departure, ""), 1, "").await.unwrap();
    // Waiting uses nothing.
    assert_eq!(scene.uses(&half.id).await, 0);
    scene.cancel(&ada, "cancel", &sold.id).await.unwrap();
    let (entry, offer) = scene.offered(&bob).await;
    assert_eq!((entry.promo_code.as_str(), entry.promo_refusal.as_str()), ("HALF", ""));
    assert_eq!(
        (offer.promo_code.as_str(), &offer.total, &offer.discount),
        ("HALF", &Some(euros(1_500)), &Some(euros(1_500)))
    );
    let (entry, without) = scene.offered(&cyd).await;
    assert_eq!(entry.promo_refusal, "PROMO_CODE_USED_UP");
    assert_eq!((without.promo_code.as_str(), without.total), ("", Some(euros(3_000))));
    let (entry, _) = scene.offered(&dan).await;
    assert_eq!((entry.promo_code.as_str(), entry.promo_refusal.as_str()), ("", ""));
    assert_eq!(scene.uses(&half.id).await, 1);
    scene.promises_hold().await;

    // The offer that is not taken gives its use to the next one who waits with the code.
    let eve = scene.traveller();
    scene.wait_with(&eve, (&departure, ""), 1, "HALF").await.unwrap();
    scene.cancel(&bob, "cancel", &offer.id).await.unwrap();
    let (entry, offer) = scene.offered(&eve).await;
    assert_eq!((entry.promo_refusal.as_str(), offer.total), ("", Some(euros(1_500))));
    assert_eq!(scene.uses(&half.id).await, 1);
    scene.promises_hold().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_not_for_the_tour_is_refused_at_once_and_one_that_ends_or_is_not_for_the_date_later() {
    let scene = Scene::new().await;
    let [ada, bob, cyd] = [(); 3].map(|()| scene.traveller());
    let offer = scene.offer(2);
    let tour = offer.departure.as_ref().unwrap().tour_id.clone();
    let departure = scene.departure_of(offer);
    let sold = scene.book(&ada, &departure, 2).await.unwrap();
    let other = pb::PromoCode { tour_ids: vec![crate::scene::id("tour")], ..code(&scene, "OTHER", percent("50")) };
    scene.code(other).await;
    let ending = scene.code(code(&scene, "ENDING", percent("50"))).await;
    let staff = scene.staff();
    let refused = async |to: (&str, &str), text: &str| reason(&scene.wait_with(&bob, to, 1, text).await.unwrap_err());
    assert_eq!(refused((&departure, ""), "NONSENSE").await, "PROMO_CODE_UNKNOWN");
    assert_eq!(refused((&departure, ""), "OTHER").await, "PROMO_CODE_NOT_APPLICABLE");
    assert_eq!(refused(("", &tour), "OTHER").await, "PROMO_CODE_NOT_APPLICABLE");
    // The departure is in June 2030.
    let july = pb::PromoCode {
        depart_from: "2030-07-01".into(),
        depart_until: "2030-07-31".into(),
        ..code(&scene, "JULY", percent("50"))
    };
    scene.code(july).await;
    assert_eq!(refused((&departure, ""), "JULY").await, "PROMO_CODE_NOT_APPLICABLE");
    scene.wait_with(&bob, ("", &tour), 1, "JULY").await.unwrap();
    scene.wait_with(&cyd, (&departure, ""), 1, "ENDING").await.unwrap();
    scene.end(&staff, "end-it", &ending.id).await.unwrap();
    assert_eq!(reason(&scene.wait_with(&ada, (&departure, ""), 1, "ENDING").await.unwrap_err()), "PROMO_CODE_ENDED");
    scene.cancel(&ada, "cancel", &sold.id).await.unwrap();
    let (entry, offer) = scene.offered(&bob).await;
    assert_eq!((entry.promo_refusal.as_str(), offer.total), ("PROMO_CODE_NOT_APPLICABLE", Some(euros(3_000))));
    let (entry, offer) = scene.offered(&cyd).await;
    assert_eq!((entry.promo_refusal.as_str(), offer.total), ("PROMO_CODE_ENDED", Some(euros(3_000))));
    scene.promises_hold().await;
}
