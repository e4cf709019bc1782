//! Thin handlers: read the request, call the use case, write the answer. Access and field rules were enforced before.

use kit::{ApiError, auth::Principal, db::Db, idempotency::RequestKey};
use tonic::{Request, Response, Status};
use tourmesh::identity::v1::{
    GetJwksRequest, GetJwksResponse, GetMeRequest, GetMeResponse, RefreshRequest, RefreshResponse, SetRolesRequest,
    SetRolesResponse, SignInRequest, SignInResponse, SignOutRequest, SignOutResponse, SignUpRequest, SignUpResponse,
    identity_service_server::IdentityService,
};
use tourmesh_kit as kit;

use crate::{
    accounts::{Accounts, NewUser},
    config::Config,
    convert,
    domain::user::{Email, Language, UserId},
    error::IdentityError,
    keys::Keyring,
    sessions,
};

/// The service.
#[derive(Debug, Clone)]
pub struct Api {
    db: Db,
    keyring: Keyring,
    accounts: Accounts,
}

impl Api {
    /// On this database, with these keys.
    pub fn new(db: Db, config: &Config, keyring: Keyring) -> Self {
        Self { accounts: Accounts::new(db.clone(), keyring.clone(), config), db, keyring }
    }
}

#[tonic::async_trait]
impl IdentityService for Api {
    async fn sign_up(&self, request: Request<SignUpRequest>) -> Result<Response<SignUpResponse>, Status> {
        let mut request = request.into_inner();
        let password = std::mem::take(&mut request.password);
        let new = NewUser {
            email: Email::new(&request.email).map_err(|e| ApiError::from(IdentityError::Email(e)))?,
            full_name: request.full_name.trim().to_owned(),
            language: Language::of_text(&request.language),
        };
        if new.full_name.is_empty() {
            return Err(ApiError::field("full_name", "must be more than white space").into());
        }
        // The content as it takes effect: another spelling of the address is the same content.
        let request_id = std::mem::take(&mut request.request_id);
        let content = SignUpRequest {
            email: new.email.as_str().to_owned(),
            full_name: new.full_name.clone(),
            language: new.language.text().to_owned(),
            ..Default::default()
        };
        let key = RequestKey::of(&request_id, "SignUp:anonymous", &content);
        let (user, tokens) = self.accounts.sign_up(key, new, &password).await?;
        Ok(Response::new(SignUpResponse { user: Some(convert::user(&user)), tokens: Some(convert::tokens(tokens)) }))
    }

    async fn sign_in(&self, request: Request<SignInRequest>) -> Result<Response<SignInResponse>, Status> {
        let request = request.into_inner();
        let email = Email::new(&request.email).map_err(|e| ApiError::from(IdentityError::Email(e)))?;
        let (user, tokens) = self.accounts.sign_in(&email, &request.password).await?;
        Ok(Response::new(SignInResponse { user: Some(convert::user(&user)), tokens: Some(convert::tokens(tokens)) }))
    }

    async fn refresh(&self, request: Request<RefreshRequest>) -> Result<Response<RefreshResponse>, Status> {
        let tokens = sessions::refresh(&self.db, &self.keyring, &request.into_inner().refresh_token).await?;
        Ok(Response::new(RefreshResponse { tokens: Some(convert::tokens(tokens)) }))
    }

    async fn sign_out(&self, request: Request<SignOutRequest>) -> Result<Response<SignOutResponse>, Status> {
        sessions::end(&self.db, &request.into_inner().refresh_token).await?;
        Ok(Response::new(SignOutResponse {}))
    }

    async fn get_me(&self, request: Request<GetMeRequest>) -> Result<Response<GetMeResponse>, Status> {
        let id = Principal::of(request.extensions()).user_id().and_then(|id| id.parse::<UserId>().ok());
        let id = id.ok_or_else(|| ApiError::from(IdentityError::UserNotFound))?;
        let user = self.accounts.get(id).await?;
        Ok(Response::new(GetMeResponse { user: Some(convert::user(&user)) }))
    }

    async fn get_jwks(&self, _: Request<GetJwksRequest>) -> Result<Response<GetJwksResponse>, Status> {
        Ok(Response::new(GetJwksResponse { jwks_json: self.keyring.jwks_json().await? }))
    }

    async fn set_roles(&self, request: Request<SetRolesRequest>) -> Result<Response<SetRolesResponse>, Status> {
        let caller = Principal::of(request.extensions()).scope();
        let request = request.into_inner();
        let id = UserId::of_field("user_id", &request.user_id)?;
        let grants = convert::grants(&request.roles, &request.supplier_id)?;
        let content = SetRolesRequest { request_id: String::new(), ..request.clone() };
        let key = RequestKey::of(&request.request_id, &format!("SetRoles:{caller}"), &content);
        let user = self.accounts.set_roles(caller, key, id, grants).await?;
        Ok(Response::new(SetRolesResponse { user: Some(convert::user(&user)) }))
    }
}
