//! Resource pools: whose they are, what options may use of them, and what is told of them.

// The API has an Option too; ours is the other one.
use std::option::Option;

use prost_types::FieldMask;
use tonic::Status;
use tourmesh::catalog::v1::{Option as WireOption, *};
use tourmesh_testkit::{bearer, reason};

use crate::common::{House, a_tour, an_option, day};

fn a_pool(name: &str, capacity: i32) -> ResourcePool {
    ResourcePool { name: name.into(), kind: ResourceKind::Vehicle.into(), capacity, ..Default::default() }
}

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect() })
}

impl House {
    async fn try_pool(&self, token: &str, request_id: &str, pool: ResourcePool) -> Result<ResourcePool, Status> {
        let request = CreateResourcePoolRequest { request_id: request_id.into(), pool: Some(pool) };
        Ok(self.admin().create_resource_pool(bearer(request, token)).await?.into_inner().pool.unwrap())
    }

    async fn change_pool(&self, token: &str, pool: ResourcePool, paths: &[&str]) -> Result<ResourcePool, Status> {
        let request = UpdateResourcePoolRequest {
            request_id: self.id(),
            pool_id: pool.id.clone(),
            pool: Some(pool),
            update_mask: mask(paths),
        };
        Ok(self.admin().update_resource_pool(bearer(request, token)).await?.into_inner().pool.unwrap())
    }

    async fn pools(&self, token: &str, supplier: &str) -> Result<Vec<String>, Status> {
        let mut all = Vec::new();
        let mut request = ListResourcePoolsRequest { supplier_id: supplier.into(), page_size: 1, ..Default::default() };
        loop {
            let page = self.admin().list_resource_pools(bearer(request.clone(), token)).await?.into_inner();
            all.extend(page.pools.into_iter().map(|pool| pool.id));
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn try_uses(&self, option: &WireOption, uses: &[PoolUse]) -> Result<WireOption, Status> {
        let request = UpdateOptionRequest {
            request_id: self.id(),
            option_id: option.id.clone(),
            option: Some(WireOption { pools: uses.to_vec(), ..Default::default() }),
            update_mask: mask(&["pools"]),
        };
        Ok(self.admin().update_option(bearer(request, &self.staff)).await?.into_inner().option.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supplier_has_its_own_pools_and_each_change_is_told_once() {
    let house = House::new().await;
    let (mine, theirs) = (house.supplier("Mine").await, house.supplier("Theirs").await);
    let (me, they) = (house.supplier_token(&mine.id), house.supplier_token(&theirs.id));
    let bus = house.try_pool(&me, "bus-1", a_pool(" Bus ", 50)).await.unwrap();
    assert_eq!((bus.supplier_id.as_str(), bus.name.as_str(), bus.slot_minutes, bus.version), (&*mine.id, "Bus", 15, 1));
    assert_eq!(house.try_pool(&me, "bus-1", a_pool(" Bus ", 50)).await.unwrap(), bus);
    assert_eq!(reason(&house.try_pool(&me, "bus-1", a_pool("Bus", 51)).await.unwrap_err()), "REQUEST_ID_REUSED");
    let guides = house.try_pool(&me, "guides", ResourcePool { slot_minutes: 60, ..a_pool("Guides", 3) }).await.unwrap();
    assert_eq!(house.pools(&me, "").await.unwrap(), [bus.id.clone(), guides.id.clone()]);

    // What belongs to others is not there.
    assert_eq!(house.pools(&they, "").await.unwrap(), [] as [String; 0]);
    assert_eq!(reason(&house.pools(&they, &mine.id).await.unwrap_err()), "SUPPLIER_NOT_FOUND");
    let foreign = ResourcePool { supplier_id: mine.id.clone(), ..a_pool("Bus", 5) };
    assert_eq!(reason(&house.try_pool(&they, "foreign-1", foreign).await.unwrap_err()), "SUPPLIER_NOT_FOUND");
    let taken = ResourcePool { capacity: 0, ..bus.clone() };
    assert_eq!(reason(&house.change_pool(&they, taken, &["capacity"]).await.unwrap_err()), "POOL_NOT_FOUND");
    let traveller =
        house.world.token("usr_00000000000000000000000000000009", &[tourmesh_testkit::Role::Traveller], None);
    assert_eq!(reason(&house.pools(&traveller, "").await.unwrap_err()), "ROLE_MISSING");

    let larger = house.change_pool(&me, ResourcePool { capacity: 60, ..bus.clone() }, &["capacity"]).await.unwrap();
    assert_eq!((larger.capacity, larger.version, larger.name.as_str()), (60, 2, "Bus"));
    assert_eq!(house.change_pool(&me, larger.clone(), &["capacity"]).await.unwrap(), larger);
    let late = house.change_pool(&me, ResourcePool { capacity: 70, ..bus.clone() }, &["capacity"]).await.unwrap_err();
    assert_eq!(reason(&late), "CHANGED_MEANWHILE");
    for (pool, field) in [
        (ResourcePool { name: "  ".into(), ..larger.clone() }, "name"),
        (ResourcePool { kind: 77, ..larger.clone() }, "kind"),
        (ResourcePool { capacity: -1, ..larger.clone() }, "capacity"),
    ] {
        assert_eq!(reason(&house.change_pool(&me, pool, &[field]).await.unwrap_err()), "FIELD_INVALID", "{field}");
    }
    let refused = house.change_pool(&me, larger.clone(), &["slot_minutes"]).await.unwrap_err();
    assert_eq!(reason(&refused), "FIELD_MASK_INVALID");
    for minutes in [1, 7, 1_441] {
        let pool = ResourcePool { slot_minutes: minutes, ..a_pool("Odd", 1) };
        assert_eq!(reason(&house.try_pool(&me, &house.id(), pool).await.unwrap_err()), "FIELD_INVALID", "{minutes}");
    }
    assert_eq!(house.events("catalog.pool.created.").await.len(), 2);
    assert_eq!(house.events("catalog.pool.changed.").await, [format!("catalog.pool.changed.{}", bus.id)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_option_uses_pools_of_its_supplier_and_booking_is_told_what_travellers_are_not() {
    let house = House::new().await;
    let (mine, theirs) = (house.supplier("Mine").await, house.supplier("Theirs").await);
    let pool = async |supplier: &Supplier, slot_minutes| {
        let pool = ResourcePool { supplier_id: supplier.id.clone(), slot_minutes, ..a_pool("Bus", 50) };
        house.try_pool(&house.staff, &house.id(), pool).await.unwrap()
    };
    let (bus, other, fine) = (pool(&mine, 0).await, pool(&theirs, 0).await, pool(&mine, 5).await);
    let (tour, option) = house.on_sale(&mine.id, a_tour("Shared", "Partagé"), 29).await;
    let uses = |pool: &ResourcePool, units, seats| PoolUse { pool_id: pool.id.clone(), units, seats };
    for wrong in [vec![uses(&other, 1, 1)], vec![uses(&bus, 1, 1), uses(&bus, 2, 1)]] {
        assert_eq!(reason(&house.try_uses(&option, &wrong).await.unwrap_err()), "FIELD_INVALID", "{wrong:?}");
    }
    let long = WireOption { duration_minutes: 5 * 1_000, pools: vec![uses(&fine, 1, 1)], ..an_option(&tour.id, 29) };
    let request = CreateOptionRequest { request_id: house.id(), option: Some(long) };
    let refused = house.admin().create_option(bearer(request, &house.staff)).await.unwrap_err();
    assert_eq!(reason(&refused), "FIELD_INVALID");

    let changed = house.try_uses(&option, &[uses(&bus, 1, 12), uses(&fine, 0, 0)]).await.unwrap();
    let stored = vec![uses(&bus, 1, 12), uses(&fine, 1, 1)];
    assert_eq!((&changed.pools, changed.version), (&stored, option.version + 1));
    let get = || GetTourRequest { tour_id: tour.id.clone() };
    let seen = house.read().get_tour(get()).await.unwrap().into_inner().tour.unwrap();
    assert_eq!(seen.options[0].pools, []);
    let seen = house.read().get_tour(bearer(get(), &house.supplier_token(&mine.id))).await.unwrap().into_inner();
    assert_eq!(seen.tour.unwrap().options[0].pools, stored);

    let request = UpdateOptionRequest {
        request_id: house.id(),
        option_id: option.id.clone(),
        option: Some(WireOption { max_open_holds: 4, ..Default::default() }),
        update_mask: mask(&["max_open_holds"]),
    };
    let changed = house.admin().update_option(bearer(request, &house.staff)).await.unwrap().into_inner();
    let changed = changed.option.unwrap();
    assert_eq!((changed.max_open_holds, &changed.pools), (4, &stored));

    let departure = house.departure(&option.id, &format!("{}T09:00", day(5)), 12).await;
    let request = GetOfferRequest { departure_id: departure.id };
    let service = house.world.service_token("booking");
    let offer = house.read().get_offer(bearer(request, &service)).await.unwrap().into_inner().offer.unwrap();
    assert_eq!((&offer.pool_uses, offer.option_version, offer.max_open_holds), (&stored, changed.version, 4));
    assert_eq!(offer.pools.len(), 2);
    assert!(offer.pools.contains(&bus) && offer.pools.contains(&fine));
}
