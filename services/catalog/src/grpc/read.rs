//! CatalogService: what travellers read.

use chrono::Utc;
use tonic::{Request, Response, Status};
use tourmesh::catalog::v1::{
    GetOfferRequest, GetOfferResponse, GetTourRequest, GetTourResponse, ListDeparturesRequest, ListDeparturesResponse,
    QuoteRequest, QuoteResponse, SearchToursRequest, SearchToursResponse, catalog_service_server::CatalogService,
};
use tourmesh_kit::auth::Principal;

use crate::{
    access::Reach,
    catalog::Catalog,
    convert,
    domain::{DepartureId, TourId},
};

#[tonic::async_trait]
impl CatalogService for Catalog {
    async fn search_tours(
        &self,
        request: Request<SearchToursRequest>,
    ) -> Result<Response<SearchToursResponse>, Status> {
        Ok(Response::new(self.search(request.into_inner(), Utc::now()).await?))
    }

    async fn get_tour(&self, request: Request<GetTourRequest>) -> Result<Response<GetTourResponse>, Status> {
        let reach = Reach::of(Principal::of(request.extensions()));
        let id = TourId::of_field("tour_id", &request.get_ref().tour_id)?;
        let mut tour = Catalog::get_tour(self, reach, id).await?;
        if !reach.owns(tour.tour.supplier) {
            tour.options.iter_mut().for_each(|option| option.pools.clear());
        }
        Ok(Response::new(GetTourResponse { tour: Some(convert::whole_tour(&tour)) }))
    }

    async fn list_departures(
        &self,
        request: Request<ListDeparturesRequest>,
    ) -> Result<Response<ListDeparturesResponse>, Status> {
        let reach = Reach::of(Principal::of(request.extensions()));
        Ok(Response::new(Catalog::list_departures(self, reach, request.get_ref(), Utc::now()).await?))
    }

    async fn quote(&self, request: Request<QuoteRequest>) -> Result<Response<QuoteResponse>, Status> {
        Ok(Response::new(Catalog::quote(self, request.get_ref(), Utc::now()).await?))
    }

    async fn get_offer(&self, request: Request<GetOfferRequest>) -> Result<Response<GetOfferResponse>, Status> {
        let id = DepartureId::of_field("departure_id", &request.get_ref().departure_id)?;
        Ok(Response::new(GetOfferResponse { offer: Some(self.offer(id).await?) }))
    }
}
