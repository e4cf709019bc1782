//! Suppliers, tours, options, schedules, blackouts, departures.

use prost_types::FieldMask;
use tourmesh::catalog::v1::{
    ArchiveTourRequest, Blackout, CancelDepartureRequest, CreateBlackoutRequest, CreateDepartureRequest,
    CreateOptionRequest, CreateResourcePoolRequest, CreateScheduleRequest, CreateSupplierRequest, CreateTourRequest,
    DeleteBlackoutRequest, DeleteTaxRuleRequest, ImportItem, ImportOption, ImportToursRequest, PublishTourRequest,
    ResourceKind, ResourcePool, Schedule, SetTaxRuleRequest, Supplier, TaxRule, Tour, UpdateDepartureRequest,
    UpdateOptionRequest, UpdateResourcePoolRequest, UpdateScheduleRequest, UpdateSupplierRequest, UpdateTourRequest,
    Weekday,
};
use tourmesh_testkit::bearer;

use super::{
    Case, Wish,
    mesh::{Mesh, english, request_id},
};

/// The rows of CatalogAdminService.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("tourmesh.catalog.v1.CatalogAdminService/CreateSupplier", |m| Box::pin(create_supplier(m))),
        Case::new("tourmesh.catalog.v1.CatalogAdminService/UpdateSupplier", |m| Box::pin(update_supplier(m))),
        Case::new("tourmesh.catalog.v1.CatalogAdminService/CreateTour", |m| Box::pin(create_tour(m))),
        Case::new("tourmesh.catalog.v1.CatalogAdminService/UpdateTour", |m| Box::pin(update_tour(m))),
        Case::new("tourmesh.catalog.v1.CatalogAdminService/PublishTour", |m| Box::pin(publish_tour(m))),
        Case::new("tourmesh.catalog.v1.CatalogAdminService/ArchiveTour", |m| Box::pin(archive_tour(m))),
        Case::new("tourmesh.catalog.v1.CatalogAdminService/CreateOption", |m| Box::pin(create_option(m))),
        Case::new("tourmesh.catalog.v1.CatalogAdminService/UpdateOption", |m| Box::pin(update_option(m))),
        Case::new("tourmesh.catalog.v1.CatalogAdminService/CreateSchedule", |m| Box::pin(create_schedule(m))),
        Case::new("tourmesh.catalog.v1.CatalogAdminService/UpdateSchedule", |m| Box::pin(update_schedule(m))),
        Case::new("tourmesh.catalog.v1.CatalogAdminService/CreateBlackout", |m| Box::pin(create_blackout(m))),
        Case::new("tourmesh.catalog.v1.CatalogAdminService/DeleteBlackout", |m| Box::pin(delete_blackout(m))),
        Case::new("tourmesh.catalog.v1.CatalogAdminService/CreateDeparture", |m| Box::pin(create_departure(m))),
        Case::new("tourmesh.catalog.v1.CatalogAdminService/UpdateDeparture", |m| Box::pin(update_departure(m))),
        Case::new("tourmesh.catalog.v1.CatalogAdminService/CancelDeparture", |m| Box::pin(cancel_departure(m))),
        Case::new("tourmesh.catalog.v1.CatalogAdminService/ImportTours", |m| Box::pin(import_tours(m))),
        Case::new("tourmesh.catalog.v1.CatalogAdminService/CreateResourcePool", |m| Box::pin(create_pool(m))),
        Case::new("tourmesh.catalog.v1.CatalogAdminService/UpdateResourcePool", |m| Box::pin(update_pool(m))),
        Case::new("tourmesh.catalog.v1.CatalogAdminService/SetTaxRule", |m| Box::pin(set_tax_rule(m))),
        Case::new("tourmesh.catalog.v1.CatalogAdminService/DeleteTaxRule", |m| Box::pin(delete_tax_rule(m))),
    ]
}

fn mask(path: &str) -> Option<FieldMask> {
    Some(FieldMask { paths: vec![path.into()] })
}

async fn create_supplier(mesh: &Mesh) -> Wish {
    let supplier = Supplier { name: "Walks".into(), contact_email: "walks@example.org".into(), ..Default::default() };
    let request = CreateSupplierRequest { request_id: request_id(), supplier: Some(supplier) };
    Wish::new(&mesh.staff, request, |r| r.supplier.as_mut().unwrap().name = "Rides".into())
}

async fn update_supplier(mesh: &Mesh) -> Wish {
    let request = UpdateSupplierRequest {
        request_id: request_id(),
        supplier_id: mesh.supplier().await,
        supplier: Some(Supplier { name: "Another name".into(), ..Default::default() }),
        update_mask: mask("name"),
    };
    Wish::new(&mesh.staff, request, |r| r.supplier.as_mut().unwrap().name = "A third name".into())
}

async fn create_tour(mesh: &Mesh) -> Wish {
    let tour = mesh.a_tour(&mesh.supplier().await);
    let request = CreateTourRequest { request_id: request_id(), tour: Some(tour) };
    Wish::new(&mesh.staff, request, |r| r.tour.as_mut().unwrap().title = english("A ride"))
}

async fn update_tour(mesh: &Mesh) -> Wish {
    let request = UpdateTourRequest {
        request_id: request_id(),
        tour_id: mesh.draft().await.id,
        tour: Some(Tour { title: english("A better walk"), ..Default::default() }),
        update_mask: mask("title"),
    };
    Wish::new(&mesh.staff, request, |r| r.tour.as_mut().unwrap().title = english("A ride"))
}

async fn publish_tour(mesh: &Mesh) -> Wish {
    let (tour, other) = (mesh.option().await.tour_id, mesh.option().await.tour_id);
    let request = PublishTourRequest { request_id: request_id(), tour_id: tour };
    Wish::new(&mesh.staff, request, |r| r.tour_id = other)
}

async fn archive_tour(mesh: &Mesh) -> Wish {
    let (tour, other) = (mesh.on_sale().await.tour_id, mesh.on_sale().await.tour_id);
    let request = ArchiveTourRequest { request_id: request_id(), tour_id: tour };
    Wish::new(&mesh.staff, request, |r| r.tour_id = other)
}

async fn create_option(mesh: &Mesh) -> Wish {
    let option = mesh.an_option(&mesh.draft().await.id);
    let request = CreateOptionRequest { request_id: request_id(), option: Some(option) };
    Wish::new(&mesh.staff, request, |r| r.option.as_mut().unwrap().duration_minutes = 120)
}

async fn update_option(mesh: &Mesh) -> Wish {
    let option = mesh.option().await;
    let request = UpdateOptionRequest {
        request_id: request_id(),
        option_id: option.id.clone(),
        option: Some(tourmesh::catalog::v1::Option { title: english("Private"), ..option }),
        update_mask: mask("title"),
    };
    Wish::new(&mesh.staff, request, |r| r.option.as_mut().unwrap().title = english("Public"))
}

fn a_schedule(mesh: &Mesh, option: &str) -> Schedule {
    let day = mesh.day();
    Schedule {
        option_id: option.into(),
        weekdays: [
            Weekday::Monday,
            Weekday::Tuesday,
            Weekday::Wednesday,
            Weekday::Thursday,
            Weekday::Friday,
            Weekday::Saturday,
            Weekday::Sunday,
        ]
        .map(i32::from)
        .to_vec(),
        start_times: vec!["09:00".into()],
        start_date: day.to_string(),
        // As many departures each time, whatever day it is.
        end_date: (day + chrono::Days::new(4)).to_string(),
        capacity: 10,
        ..Default::default()
    }
}

async fn create_schedule(mesh: &Mesh) -> Wish {
    let schedule = a_schedule(mesh, &mesh.on_sale().await.id);
    let request = CreateScheduleRequest { request_id: request_id(), schedule: Some(schedule) };
    Wish::new(&mesh.staff, request, |r| r.schedule.as_mut().unwrap().capacity = 11)
}

async fn update_schedule(mesh: &Mesh) -> Wish {
    let schedule = a_schedule(mesh, &mesh.on_sale().await.id);
    let request = CreateScheduleRequest { request_id: request_id(), schedule: Some(schedule.clone()) };
    let made = mesh.admin().create_schedule(bearer(request, &mesh.staff)).await.unwrap().into_inner();
    let request = UpdateScheduleRequest {
        request_id: request_id(),
        schedule_id: made.schedule.unwrap().id,
        effective_from: schedule.start_date,
        schedule: Some(Schedule { start_times: vec!["10:00".into(), "15:00".into()], ..Default::default() }),
        update_mask: mask("start_times"),
    };
    Wish::new(&mesh.staff, request, |r| r.schedule.as_mut().unwrap().start_times = vec!["11:00".into()])
}

fn a_blackout(mesh: &Mesh, tour: &str) -> Blackout {
    let day = mesh.day().to_string();
    Blackout {
        tour_id: tour.into(),
        first_date: day.clone(),
        last_date: day,
        reason: "The castle is being restored.".into(),
        ..Default::default()
    }
}

async fn create_blackout(mesh: &Mesh) -> Wish {
    let blackout = a_blackout(mesh, &mesh.on_sale().await.tour_id);
    let request = CreateBlackoutRequest { request_id: request_id(), blackout: Some(blackout) };
    Wish::new(&mesh.staff, request, |r| r.blackout.as_mut().unwrap().reason = "It rains.".into())
}

async fn delete_blackout(mesh: &Mesh) -> Wish {
    let mut blackouts = Vec::new();
    for _ in 0..2 {
        let blackout = a_blackout(mesh, &mesh.on_sale().await.tour_id);
        let request = CreateBlackoutRequest { request_id: request_id(), blackout: Some(blackout) };
        let made = mesh.admin().create_blackout(bearer(request, &mesh.staff)).await.unwrap();
        blackouts.push(made.into_inner().blackout.unwrap().id);
    }
    let request = DeleteBlackoutRequest { request_id: request_id(), blackout_id: blackouts.remove(0) };
    Wish::new(&mesh.staff, request, |r| r.blackout_id = blackouts.remove(0))
}

async fn create_departure(mesh: &Mesh) -> Wish {
    let request = CreateDepartureRequest {
        request_id: request_id(),
        option_id: mesh.on_sale().await.id,
        local_start: format!("{}T09:00", mesh.day()),
        capacity: 10,
    };
    Wish::new(&mesh.staff, request, |r| r.capacity = 11)
}

async fn update_departure(mesh: &Mesh) -> Wish {
    let request = UpdateDepartureRequest {
        request_id: request_id(),
        departure_id: mesh.departure(10).await.id,
        capacity: 20,
        update_mask: mask("capacity"),
        ..Default::default()
    };
    Wish::new(&mesh.staff, request, |r| r.capacity = 30)
}

async fn cancel_departure(mesh: &Mesh) -> Wish {
    let (departure, other) = (mesh.departure(10).await.id, mesh.departure(10).await.id);
    let request = CancelDepartureRequest { request_id: request_id(), departure_id: departure };
    Wish::new(&mesh.staff, request, |r| r.departure_id = other)
}

async fn import_tours(mesh: &Mesh) -> Wish {
    let supplier = mesh.supplier().await;
    let tour = Tour { external_id: "walk-1".into(), ..mesh.a_tour(&supplier) };
    let option = ImportOption { option: Some(mesh.an_option("")), schedules: vec![a_schedule(mesh, "")] };
    let item = ImportItem { tour: Some(tour), options: vec![option] };
    let request = ImportToursRequest { request_id: request_id(), supplier_id: supplier, items: vec![item] };
    Wish::new(&mesh.staff, request, |r| r.items[0].tour.as_mut().unwrap().external_id = "walk-2".into())
}

async fn a_pool(mesh: &Mesh) -> CreateResourcePoolRequest {
    let pool = ResourcePool {
        supplier_id: mesh.supplier().await,
        name: "Bus".into(),
        kind: ResourceKind::Vehicle.into(),
        capacity: 50,
        ..Default::default()
    };
    CreateResourcePoolRequest { request_id: request_id(), pool: Some(pool) }
}

async fn create_pool(mesh: &Mesh) -> Wish {
    Wish::new(&mesh.staff, a_pool(mesh).await, |r| r.pool.as_mut().unwrap().capacity = 51)
}

async fn update_pool(mesh: &Mesh) -> Wish {
    let made = mesh.admin().create_resource_pool(bearer(a_pool(mesh).await, &mesh.staff)).await.unwrap().into_inner();
    let request = UpdateResourcePoolRequest {
        request_id: request_id(),
        pool_id: made.pool.unwrap().id,
        pool: Some(ResourcePool { capacity: 60, ..Default::default() }),
        update_mask: mask("capacity"),
    };
    Wish::new(&mesh.staff, request, |r| r.pool.as_mut().unwrap().capacity = 70)
}

/// In a country where no tour of these tests is.
fn a_tax() -> SetTaxRuleRequest {
    let name = format!("Tax {}", request_id());
    let rule = TaxRule { country: "IS".into(), name, percent: "5.5".into(), ..Default::default() };
    SetTaxRuleRequest { request_id: request_id(), rule: Some(rule) }
}

async fn set_tax_rule(mesh: &Mesh) -> Wish {
    Wish::new(&mesh.staff, a_tax(), |r| r.rule.as_mut().unwrap().percent = "6".into())
}

async fn delete_tax_rule(mesh: &Mesh) -> Wish {
    let mut rules = Vec::new();
    for _ in 0..2 {
        let made = mesh.admin().set_tax_rule(bearer(a_tax(), &mesh.staff)).await.unwrap();
        rules.push(made.into_inner().rule.unwrap().id);
    }
    let request = DeleteTaxRuleRequest { request_id: request_id(), tax_rule_id: rules.remove(0) };
    Wish::new(&mesh.staff, request, |r| r.tax_rule_id = rules.remove(0))
}
