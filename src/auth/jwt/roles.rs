//! Permissions that many have, kept once for all of them: most tokens of a service grant one of a few sets.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::auth::{PermissionClaims, Permissions};

/// How many sets are remembered that somebody has. Whoever comes with another has it alone.
const ROLES_MAX: usize = 256;

/// What claims that grant the same to everybody came to.
#[derive(Default)]
pub(super) struct Roles(Mutex<HashMap<PermissionClaims, Weak<Permissions>>>);

impl Roles {
    /// What the claims come to for `subject`.
    pub(super) fn permissions(&self, claims: PermissionClaims, subject: Option<&str>) -> Arc<Permissions> {
        if claims.name_subject() {
            return Arc::new(claims.permissions(subject));
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(permissions) = known.get(&claims).and_then(Weak::upgrade) {
            return permissions;
        }
        let permissions = Arc::new(claims.permissions(subject));
        if known.len() >= ROLES_MAX {
            known.retain(|_, permissions| permissions.strong_count() > 0);
        }
        if known.len() < ROLES_MAX {
            known.insert(claims, Arc::downgrade(&permissions));
        }
        permissions
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Roles").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Right;

    fn claims(pattern: &str) -> PermissionClaims {
        PermissionClaims { subscribe: vec![pattern.to_owned()], ..PermissionClaims::default() }
    }

    #[test]
    fn who_may_the_same_shares_it() {
        let roles = Roles::default();
        let ana = roles.permissions(claims("room.*"), Some("ana"));
        let ben = roles.permissions(claims("room.*"), Some("ben"));
        assert!(Arc::ptr_eq(&ana, &ben));
        let admin = roles.permissions(PermissionClaims { admin: true, ..claims("room.*") }, None);
        assert!(admin.is_admin() && !ana.is_admin());
    }

    #[test]
    fn what_is_for_a_subject_is_for_nobody_else() {
        let roles = Roles::default();
        let ana = roles.permissions(claims("user.{sub}"), Some("ana"));
        let ben = roles.permissions(claims("user.{sub}"), Some("ben"));
        let may = |who: &Permissions, topic| who.allow(Right::Subscribe, topic);
        assert_eq!((may(&ana, "user.ana"), may(&ana, "user.ben")), (true, false));
        assert_eq!((may(&ben, "user.ana"), may(&ben, "user.ben")), (false, true));
        assert!(roles.permissions(claims("user.{sub}"), None).is_none());
    }

    #[test]
    fn only_so_many_are_remembered_and_none_that_nobody_has() {
        let roles = Roles::default();
        let len = || roles.0.lock().expect("no panic").len();
        for number in 0..2 * ROLES_MAX {
            roles.permissions(claims(&format!("room.{number}")), None);
        }
        assert!(len() <= ROLES_MAX);
        let held: Vec<_> =
            (0..2 * ROLES_MAX).map(|number| roles.permissions(claims(&number.to_string()), None)).collect();
        assert_eq!(len(), ROLES_MAX);
        // Those beyond are right all the same.
        assert!(held.iter().enumerate().all(|(number, role)| role.allow(Right::Subscribe, &number.to_string())));
    }
}
