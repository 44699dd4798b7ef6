//! Who somebody is and what they may do: credentials, permissions, and whoever judges them.
//!
//! An [`Authenticator`] turns a [`Credential`] into an [`Identity`] with [`Permissions`]. [`ApiKeys`] and,
//! with the feature `jwt`, `Jwt` are two; a service that embeds fanfare may bring its own, which may look
//! into its database. Nothing here knows a connection: when credentials are asked for, and what
//! becomes of who has none, is up to the layers above.
//!
//! No token and no key appears in what is displayed, in errors or in `Debug`.

mod authenticator;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod grants;
mod hooks;
#[cfg(feature = "jwt")]
mod jwt;
mod keys;
mod permissions;
#[cfg(test)]
mod tests;

pub use authenticator::{AuthError, AuthFuture, Authenticator, Credential, Identity};
pub use hooks::{Client, Hooks, Refusal};
#[cfg(feature = "jwt")]
pub use jwt::{Jwt, JwtBuilder, KeyError, TOKEN_BYTES_MAX};
pub use keys::{ApiKey, ApiKeys, KeyHash};
pub use permissions::{PermissionClaims, Permissions, Right};
