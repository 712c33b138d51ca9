//! Which role a request needs. Reads need the smallest one and writes the middle one, whatever the path, so that a path that
//! nobody thought of here is not open to too many; what needs more, or less, stands in the lists.

use axum::http::Method;
use callfold_people::Role;

/// Who decides who works here.
const PEOPLE: &str = "/people";
/// How the system works, and what is stuck.
const OPERATION: [&str; 2] = ["/operation", "/api/v1/operation"];
/// Endings of what takes many leads out of the system, or one out of the world.
const EXPORTS: [&str; 1] = [".csv"];
const ERASURE: &str = "/erase";
/// What everybody does for themselves.
const OWN: [&str; 3] = ["/signout", "/language", "/settings"];

/// The role that is needed.
pub(super) fn needed(method: &Method, path: &str) -> Role {
    let within = |root: &str| {
        path.strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let is_read = super::is_read(method);
    if within(PEOPLE) || EXPORTS.iter().any(|ending| path.ends_with(ending)) {
        return Role::Owner;
    }
    if OPERATION.into_iter().any(within) {
        return Role::Agent;
    }
    if !is_read && (*method == Method::DELETE || path.ends_with(ERASURE)) {
        return Role::Owner;
    }
    if is_read || OWN.into_iter().any(within) {
        return Role::Viewer;
    }
    Role::Agent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_do_what() {
        for (method, path, role) in [
            (Method::GET, "/", Role::Viewer),
            (Method::GET, "/leads/CA1", Role::Viewer),
            (Method::GET, "/api/v1/leads", Role::Viewer),
            (Method::GET, "/api/v1/events", Role::Viewer),
            (Method::PATCH, "/api/v1/leads/CA1", Role::Agent),
            (Method::POST, "/api/v1/leads/CA1/reprocess", Role::Agent),
            (Method::POST, "/leads/CA1/note", Role::Agent),
            (Method::POST, "/what/nobody/thought/of", Role::Agent),
            (Method::DELETE, "/api/v1/leads/CA1", Role::Owner),
            (Method::POST, "/leads/CA1/erase", Role::Owner),
            (Method::GET, "/leads.csv", Role::Owner),
            (Method::GET, "/api/v1/leads.csv", Role::Owner),
            (Method::GET, "/people", Role::Owner),
            (Method::POST, "/people/add", Role::Owner),
            (Method::GET, "/operation", Role::Agent),
            (Method::GET, "/api/v1/operation", Role::Agent),
            (Method::POST, "/operation/rerun", Role::Agent),
            (Method::GET, "/settings", Role::Viewer),
            (Method::POST, "/settings/password", Role::Viewer),
            (Method::POST, "/signout", Role::Viewer),
        ] {
            assert_eq!(needed(&method, path), role, "{method} {path}");
        }
    }
}
