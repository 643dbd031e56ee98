//! The resource owner password credentials grant, RFC 6749 §4.3: a machine of our own in the grammar of
//! oxide-auth's, which has none for it.

use crate::model::client::Client;
use crate::model::id::UserId;
use crate::model::role::RoleTable;
use crate::model::scope::Scope;
use crate::model::user::User;
use crate::protocol::error::{GrantFailure, TokenError};
use crate::protocol::token_request::Wish;
use crate::protocol::{audience, scope_rules};

use super::Granted;

/// A password grant on its way. Each output is answered by its one input; anything else poisons it.
pub struct ResourceOwnerPassword {
    state: State,
}

enum State {
    Start { scope: Option<Scope> },
    Binding,
    Verifying { asked: Scope },
    Negotiating { asked: Scope, owner: UserId },
    Done,
}

/// What the driver answers.
pub enum Input {
    /// Begin.
    None,
    /// The scope that the client may ask for, of what the request names.
    Bound {
        /// As [`scope_rules::ask`] gives it.
        asked: Scope,
    },
    /// Whose password it was; `None` if it was nobody's.
    Owner(Option<UserId>),
    /// The scope that reaches the owner.
    Negotiated {
        /// As [`scope_rules::reach`] gives it.
        scope: Scope,
    },
}

/// What the machine wants to know next.
pub enum Output {
    /// May the client ask for this?
    Bind {
        /// What the request names.
        scope: Option<Scope>,
    },
    /// Whose username and password are these?
    VerifyOwner,
    /// What of this reaches the owner?
    Negotiate {
        /// What the client may ask for.
        asked: Scope,
        /// Who logged in.
        owner: UserId,
    },
    /// The grant is good.
    Ok {
        /// Who logged in.
        owner: UserId,
        /// What was asked for.
        requested: Scope,
        /// What is granted.
        scope: Scope,
    },
    /// It is not.
    Err(TokenError),
}

impl ResourceOwnerPassword {
    /// A machine for a request that names `scope`.
    pub const fn new(scope: Option<Scope>) -> Self {
        Self { state: State::Start { scope } }
    }

    /// Takes the answer to the last output, gives the next.
    pub fn advance(&mut self, input: Input) -> Output {
        match (std::mem::replace(&mut self.state, State::Done), input) {
            (State::Start { scope }, Input::None) => {
                self.state = State::Binding;
                Output::Bind { scope }
            }
            (State::Binding, Input::Bound { asked }) => {
                self.state = State::Verifying { asked };
                Output::VerifyOwner
            }
            (State::Verifying { .. }, Input::Owner(None)) => Output::Err(GrantFailure::Credentials.into()),
            (State::Verifying { asked }, Input::Owner(Some(owner))) => {
                self.state = State::Negotiating { asked: asked.clone(), owner };
                Output::Negotiate { asked, owner }
            }
            (State::Negotiating { asked, owner }, Input::Negotiated { scope }) => {
                Output::Ok { owner, requested: asked, scope }
            }
            _ => Output::Err(TokenError::Internal("the password machine was fed out of order".into())),
        }
    }
}

/// What can be refused before anybody's password is looked at: it costs a hash otherwise.
pub fn check_wish(wish: &Wish, client: &Client) -> Result<(), TokenError> {
    scope_rules::ask(wish.scope.as_ref(), &client.registration.scope)?;
    audience::choose(&wish.resource, &client.registration.audience)?;
    Ok(())
}

/// What `client`, which has proved who it is, is granted for `owner`, whose password was right; `None` if it was
/// wrong or nobody's.
pub fn decide(
    wish: &Wish,
    client: &Client,
    owner: Option<&User>,
    roles: &RoleTable,
) -> Result<Granted, TokenError> {
    let mut machine = ResourceOwnerPassword::new(wish.scope.clone());
    let mut input = Input::None;
    loop {
        input = match machine.advance(input) {
            Output::Bind { scope } => {
                Input::Bound { asked: scope_rules::ask(scope.as_ref(), &client.registration.scope)? }
            }
            Output::VerifyOwner => match owner {
                Some(user) if !user.is_enabled() => return Err(GrantFailure::UserDisabled.into()),
                owner => Input::Owner(owner.map(|user| user.id)),
            },
            Output::Negotiate { asked, .. } => {
                let held = owner.map_or(&[][..], |user| &user.roles);
                Input::Negotiated { scope: scope_rules::reach(&asked, roles, held)? }
            }
            Output::Ok { requested, scope, .. } => {
                let audience = audience::choose(&wish.resource, &client.registration.audience)?;
                return Ok(Granted { requested, scope, audience });
            }
            Output::Err(error) => return Err(error),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_fed_out_of_order_is_poisoned_for_good() {
        let mut machine = ResourceOwnerPassword::new(None);

        let skipped = machine.advance(Input::Owner(Some(UserId::from_random([1; 16]))));

        assert!(matches!(skipped, Output::Err(TokenError::Internal(_))));
        assert!(matches!(machine.advance(Input::None), Output::Err(TokenError::Internal(_))));
    }

    #[test]
    fn a_wrong_password_ends_in_invalid_grant_and_nothing_else() {
        let mut machine = ResourceOwnerPassword::new(None);
        let _ = machine.advance(Input::None);
        let _ = machine.advance(Input::Bound { asked: Scope::empty() });

        let refused = machine.advance(Input::Owner(None));

        assert!(matches!(refused, Output::Err(TokenError::Grant(GrantFailure::Credentials))));
        let again = machine.advance(Input::Owner(Some(UserId::from_random([1; 16]))));
        assert!(matches!(again, Output::Err(TokenError::Internal(_))));
    }
}
