//! CatalogAdminService: what suppliers and staff write.

use tonic::{Request, Response, Status};
use tourmesh::catalog::v1::{catalog_admin_service_server::CatalogAdminService, *};
use tourmesh_kit::{ApiError, auth::Principal};

use crate::{
    access::Reach,
    catalog::{Asked, Catalog},
    convert,
    domain::{BlackoutId, DepartureId, OptionId, PoolId, ScheduleId, SupplierId, TaxRuleId, TourId},
};

/// The field rules demand it; this is for the type.
fn set<T>(field: &str, value: ::core::option::Option<T>) -> Result<T, ApiError> {
    value.ok_or_else(|| ApiError::field(field, "must be set"))
}

/// The request, and what makes it one change.
macro_rules! asked {
    ($method:literal, $request:ident) => {{
        let asked = {
            let message = $request.get_ref();
            Asked::new(Principal::of($request.extensions()), $method, &message.request_id, message)
        };
        (asked, $request.into_inner())
    }};
}

#[tonic::async_trait]
impl CatalogAdminService for Catalog {
    async fn create_supplier(
        &self,
        request: Request<CreateSupplierRequest>,
    ) -> Result<Response<CreateSupplierResponse>, Status> {
        let (asked, message) = asked!("CreateSupplier", request);
        let new = set("supplier", message.supplier)?;
        let supplier = Catalog::create_supplier(self, asked, new).await?;
        Ok(Response::new(CreateSupplierResponse { supplier: Some(convert::supplier(&supplier)) }))
    }

    async fn update_supplier(
        &self,
        request: Request<UpdateSupplierRequest>,
    ) -> Result<Response<UpdateSupplierResponse>, Status> {
        let (asked, message) = asked!("UpdateSupplier", request);
        let id = SupplierId::of_field("supplier_id", &message.supplier_id)?;
        let new = set("supplier", message.supplier)?;
        let supplier = Catalog::update_supplier(self, asked, id, new, message.update_mask).await?;
        Ok(Response::new(UpdateSupplierResponse { supplier: Some(convert::supplier(&supplier)) }))
    }

    async fn list_suppliers(
        &self,
        request: Request<ListSuppliersRequest>,
    ) -> Result<Response<ListSuppliersResponse>, Status> {
        let reach = Reach::of(Principal::of(request.extensions()));
        Ok(Response::new(Catalog::list_suppliers(self, reach, request.get_ref()).await?))
    }

    async fn create_tour(&self, request: Request<CreateTourRequest>) -> Result<Response<CreateTourResponse>, Status> {
        let (asked, message) = asked!("CreateTour", request);
        let tour = Catalog::create_tour(self, asked, set("tour", message.tour)?).await?;
        Ok(Response::new(CreateTourResponse { tour: Some(convert::whole_tour(&tour)) }))
    }

    async fn update_tour(&self, request: Request<UpdateTourRequest>) -> Result<Response<UpdateTourResponse>, Status> {
        let (asked, message) = asked!("UpdateTour", request);
        let id = TourId::of_field("tour_id", &message.tour_id)?;
        let new = set("tour", message.tour)?;
        let tour = Catalog::update_tour(self, asked, id, new, message.update_mask).await?;
        Ok(Response::new(UpdateTourResponse { tour: Some(convert::whole_tour(&tour)) }))
    }

    async fn publish_tour(
        &self,
        request: Request<PublishTourRequest>,
    ) -> Result<Response<PublishTourResponse>, Status> {
        let (asked, message) = asked!("PublishTour", request);
        let id = TourId::of_field("tour_id", &message.tour_id)?;
        let tour = Catalog::publish_tour(self, asked, id).await?;
        Ok(Response::new(PublishTourResponse { tour: Some(convert::whole_tour(&tour)) }))
    }

    async fn archive_tour(
        &self,
        request: Request<ArchiveTourRequest>,
    ) -> Result<Response<ArchiveTourResponse>, Status> {
        let (asked, message) = asked!("ArchiveTour", request);
        let id = TourId::of_field("tour_id", &message.tour_id)?;
        let tour = Catalog::archive_tour(self, asked, id).await?;
        Ok(Response::new(ArchiveTourResponse { tour: Some(convert::whole_tour(&tour)) }))
    }

    async fn list_tours(&self, request: Request<ListToursRequest>) -> Result<Response<ListToursResponse>, Status> {
        let reach = Reach::of(Principal::of(request.extensions()));
        Ok(Response::new(Catalog::list_tours(self, reach, request.get_ref()).await?))
    }

    async fn create_option(
        &self,
        request: Request<CreateOptionRequest>,
    ) -> Result<Response<CreateOptionResponse>, Status> {
        let (asked, message) = asked!("CreateOption", request);
        let option = Catalog::create_option(self, asked, set("option", message.option)?).await?;
        Ok(Response::new(CreateOptionResponse { option: Some(convert::option(&option)) }))
    }

    async fn update_option(
        &self,
        request: Request<UpdateOptionRequest>,
    ) -> Result<Response<UpdateOptionResponse>, Status> {
        let (asked, message) = asked!("UpdateOption", request);
        let id = OptionId::of_field("option_id", &message.option_id)?;
        let new = set("option", message.option)?;
        let option = Catalog::update_option(self, asked, id, new, message.update_mask).await?;
        Ok(Response::new(UpdateOptionResponse { option: Some(convert::option(&option)) }))
    }

    async fn create_schedule(
        &self,
        request: Request<CreateScheduleRequest>,
    ) -> Result<Response<CreateScheduleResponse>, Status> {
        let (asked, message) = asked!("CreateSchedule", request);
        let (schedule, departures_created) =
            Catalog::create_schedule(self, asked, set("schedule", message.schedule)?).await?;
        let schedule = Some(convert::schedule(&schedule));
        Ok(Response::new(CreateScheduleResponse { schedule, departures_created }))
    }

    async fn list_schedules(
        &self,
        request: Request<ListSchedulesRequest>,
    ) -> Result<Response<ListSchedulesResponse>, Status> {
        let reach = Reach::of(Principal::of(request.extensions()));
        let option = OptionId::of_field("option_id", &request.get_ref().option_id)?;
        let schedules = Catalog::list_schedules(self, reach, option).await?;
        let schedules = schedules.iter().map(convert::schedule).collect();
        Ok(Response::new(ListSchedulesResponse { schedules }))
    }

    async fn update_schedule(
        &self,
        request: Request<UpdateScheduleRequest>,
    ) -> Result<Response<UpdateScheduleResponse>, Status> {
        let (asked, message) = asked!("UpdateSchedule", request);
        let id = ScheduleId::of_field("schedule_id", &message.schedule_id)?;
        let new = set("schedule", message.schedule)?;
        let (schedule, departures_created, departures_closed) =
            Catalog::update_schedule(self, asked, id, &message.effective_from, new, message.update_mask).await?;
        let schedule = Some(convert::schedule(&schedule));
        Ok(Response::new(UpdateScheduleResponse { schedule, departures_created, departures_closed }))
    }

    async fn create_blackout(
        &self,
        request: Request<CreateBlackoutRequest>,
    ) -> Result<Response<CreateBlackoutResponse>, Status> {
        let (asked, message) = asked!("CreateBlackout", request);
        let blackout = Catalog::create_blackout(self, asked, set("blackout", message.blackout)?).await?;
        Ok(Response::new(CreateBlackoutResponse { blackout: Some(convert::blackout(&blackout)) }))
    }

    async fn list_blackouts(
        &self,
        request: Request<ListBlackoutsRequest>,
    ) -> Result<Response<ListBlackoutsResponse>, Status> {
        let reach = Reach::of(Principal::of(request.extensions()));
        Ok(Response::new(Catalog::list_blackouts(self, reach, request.get_ref()).await?))
    }

    async fn delete_blackout(
        &self,
        request: Request<DeleteBlackoutRequest>,
    ) -> Result<Response<DeleteBlackoutResponse>, Status> {
        let (asked, message) = asked!("DeleteBlackout", request);
        let id = BlackoutId::of_field("blackout_id", &message.blackout_id)?;
        Catalog::delete_blackout(self, asked, id).await?;
        Ok(Response::new(DeleteBlackoutResponse {}))
    }

    async fn create_departure(
        &self,
        request: Request<CreateDepartureRequest>,
    ) -> Result<Response<CreateDepartureResponse>, Status> {
        let (asked, message) = asked!("CreateDeparture", request);
        let departure = Catalog::create_departure(self, asked, &message).await?;
        Ok(Response::new(CreateDepartureResponse { departure: Some(convert::departure(&departure)) }))
    }

    async fn update_departure(
        &self,
        request: Request<UpdateDepartureRequest>,
    ) -> Result<Response<UpdateDepartureResponse>, Status> {
        let (asked, message) = asked!("UpdateDeparture", request);
        let departure = Catalog::update_departure(self, asked, &message).await?;
        Ok(Response::new(UpdateDepartureResponse { departure: Some(convert::departure(&departure)) }))
    }

    async fn cancel_departure(
        &self,
        request: Request<CancelDepartureRequest>,
    ) -> Result<Response<CancelDepartureResponse>, Status> {
        let (asked, message) = asked!("CancelDeparture", request);
        let id = DepartureId::of_field("departure_id", &message.departure_id)?;
        let departure = Catalog::cancel_departure(self, asked, id).await?;
        Ok(Response::new(CancelDepartureResponse { departure: Some(convert::departure(&departure)) }))
    }

    async fn set_tax_rule(&self, request: Request<SetTaxRuleRequest>) -> Result<Response<SetTaxRuleResponse>, Status> {
        let (asked, message) = asked!("SetTaxRule", request);
        let rule = Catalog::set_tax_rule(self, asked, set("rule", message.rule)?).await?;
        Ok(Response::new(SetTaxRuleResponse { rule: Some(convert::tax_rule(&rule)) }))
    }

    async fn delete_tax_rule(
        &self,
        request: Request<DeleteTaxRuleRequest>,
    ) -> Result<Response<DeleteTaxRuleResponse>, Status> {
        let (asked, message) = asked!("DeleteTaxRule", request);
        let id = TaxRuleId::of_field("tax_rule_id", &message.tax_rule_id)?;
        Catalog::delete_tax_rule(self, asked, id).await?;
        Ok(Response::new(DeleteTaxRuleResponse {}))
    }

    async fn list_tax_rules(
        &self,
        request: Request<ListTaxRulesRequest>,
    ) -> Result<Response<ListTaxRulesResponse>, Status> {
        Ok(Response::new(Catalog::list_tax_rules(self, request.get_ref()).await?))
    }

    async fn create_resource_pool(
        &self,
        request: Request<CreateResourcePoolRequest>,
    ) -> Result<Response<CreateResourcePoolResponse>, Status> {
        let (asked, message) = asked!("CreateResourcePool", request);
        let pool = self.create_pool(asked, set("pool", message.pool)?).await?;
        Ok(Response::new(CreateResourcePoolResponse { pool: Some(convert::pool(&pool)) }))
    }

    async fn update_resource_pool(
        &self,
        request: Request<UpdateResourcePoolRequest>,
    ) -> Result<Response<UpdateResourcePoolResponse>, Status> {
        let (asked, message) = asked!("UpdateResourcePool", request);
        let id = PoolId::of_field("pool_id", &message.pool_id)?;
        let pool = self.update_pool(asked, id, set("pool", message.pool)?, message.update_mask).await?;
        Ok(Response::new(UpdateResourcePoolResponse { pool: Some(convert::pool(&pool)) }))
    }

    async fn list_resource_pools(
        &self,
        request: Request<ListResourcePoolsRequest>,
    ) -> Result<Response<ListResourcePoolsResponse>, Status> {
        let reach = Reach::of(Principal::of(request.extensions()));
        Ok(Response::new(self.list_pools(reach, request.get_ref()).await?))
    }

    async fn import_tours(
        &self,
        request: Request<ImportToursRequest>,
    ) -> Result<Response<ImportToursResponse>, Status> {
        let (asked, message) = asked!("ImportTours", request);
        Ok(Response::new(self.import(asked, message).await?))
    }
}
