//! What a route demands of whoever comes by it.
//!
//! Every frontend's routes declare one of these by an exhaustive `match`, so that a route which
//! declares nothing does not compile; and each is enforced where all routes of a frontend meet.

use strongroom_engine::access::Action;

/// What a route demands of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: what it answers is nobody's in particular, or it asks for credentials itself.
    Open,
    /// Credentials, be they those of an anonymous token: the route is how clients learn where to
    /// get some.
    Shown,
    /// Somebody who is known. Each sees of the answer what is theirs.
    SignedIn,
    /// Somebody who operates the installation, signed in without the bounds of a token.
    Operator,
    /// That the authorizer allows this action in the place that the route names.
    Allowed(Action),
}
