//! Why a request was refused. One row for each refusal: its code, its HTTP status, what the client is told, and how
//! much an operator should care. `docs/ERRORS.md` is printed from these rows.
//!
//! Refuses to know how a refusal is delivered (`web`) or recorded (`metrics`, logs).

mod refusal;

pub use refusal::Refusal;

use crate::protocol::error_code::ErrorCode;

/// How much attention a refusal deserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Clients and people make such mistakes all day.
    Routine,
    /// An honest client does not do this; someone should look when it repeats.
    Suspicious,
    /// Something of ours failed.
    Fault,
}

/// One row of `docs/ERRORS.md`.
pub struct Row {
    /// Stable name for logs and metrics.
    pub id: &'static str,
    /// The `error` member.
    pub code: ErrorCode,
    /// The HTTP status.
    pub status: u16,
    /// The `error_description` member; `None` wherever it would be an oracle.
    pub description: Option<&'static str>,
    /// How much attention it deserves.
    pub weight: Weight,
}

macro_rules! refusals {
    ($($(#[$area_doc:meta])* $area:ident in $name:ident {
        $($(#[$doc:meta])* $variant:ident = $id:literal, $code:ident $(as $status:literal)?, $description:expr, $weight:ident;)*
    })*) => {
        $(
            $(#[$area_doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum $name {
                $($(#[$doc])* $variant,)*
            }

            impl From<$name> for Reason {
                fn from(reason: $name) -> Self {
                    Self::$area(reason)
                }
            }

            impl From<$name> for Refusal {
                fn from(reason: $name) -> Self {
                    Self::new(Reason::$area(reason))
                }
            }
        )*

        /// Why a request was refused, by area.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason {
            $($(#[$area_doc])* $area($name),)*
        }

        impl Reason {
            /// Every refusal there is, in the order of `docs/ERRORS.md`.
            pub const ALL: &[Self] = &[$($(Self::$area($name::$variant),)*)*];

            /// The refusal's row.
            pub const fn row(self) -> Row {
                match self {
                    $($(Self::$area($name::$variant) => {
                        #[allow(unused_mut, unused_assignments, reason = "only some rows have a status of their own")]
                        let mut status = ErrorCode::$code.status();
                        $(status = $status;)?
                        Row {
                            id: $id,
                            code: ErrorCode::$code,
                            status,
                            description: $description,
                            weight: Weight::$weight,
                        }
                    })*)*
                }
            }
        }
    };
}

refusals! {
    /// The request cannot be read.
    Request in RequestRefusal {
        /// RFC 6749 §3.2.
        NotAForm = "request.not_a_form", InvalidRequest as 415, Some("the body must be application/x-www-form-urlencoded"), Routine;
        /// A body over 64 KiB.
        BodyTooLarge = "request.body_too_large", InvalidRequest as 413, Some("the body is too large"), Routine;
        /// The body did not arrive in time.
        BodyTooSlow = "request.body_too_slow", InvalidRequest as 408, Some("the body did not arrive in time"), Routine;
        /// The connection ended, or its framing broke, before the body was whole.
        BodyBroken = "request.body_broken", InvalidRequest, Some("the body could not be read"), Routine;
        /// Header fields over 16 KiB together.
        HeadersTooLarge = "request.headers_too_large", InvalidRequest as 431, Some("the header fields are too large"), Routine;
        /// RFC 6749 §3.2: only POST.
        MethodNotAllowed = "request.method_not_allowed", InvalidRequest as 405, Some("the endpoint does not take this method"), Routine;
        /// More than 64 parameters.
        TooManyParameters = "request.too_many_parameters", InvalidRequest, Some("there are too many parameters"), Routine;
        /// A value over 16 KiB.
        ParameterTooLarge = "request.parameter_too_large", InvalidRequest, Some("a parameter is too large"), Routine;
        /// RFC 6749 §3.2: not more than once.
        DuplicatedParameter = "request.duplicated_parameter", InvalidRequest, Some("a parameter is given more than once"), Routine;
        /// RFC 6749 appendix B: UTF-8.
        NotUtf8 = "request.not_utf8", InvalidRequest, Some("a parameter is not UTF-8"), Routine;
        /// RFC 6749 §5.2.
        MissingParameter = "request.missing_parameter", InvalidRequest, Some("a parameter is missing"), Routine;
        /// Size or characters outside the parameter's rule.
        MalformedParameter = "request.malformed_parameter", InvalidRequest, Some("a parameter is malformed"), Routine;
        /// RFC 6749 §2.3: one method in each request.
        TwoClientAuthentications = "request.two_client_authentications", InvalidRequest, Some("the client authenticates in more than one way"), Routine;
        /// A receipt that says nothing that can be read.
        NotAReceipt = "request.not_a_receipt", InvalidRequest, Some("the receipt cannot be read"), Routine;
        /// RFC 6749 §5.2.
        UnsupportedGrantType = "request.unsupported_grant_type", UnsupportedGrantType, Some("the grant type is not supported"), Routine;
        /// RFC 6749 §3.3.
        MalformedScope = "request.malformed_scope", InvalidScope, Some("the scope is malformed"), Routine;
        /// RFC 8707 §2.
        MalformedResource = "request.malformed_resource", InvalidTarget, Some("a resource must be an absolute URI without a fragment"), Routine;
    }
    /// The client is not who it says, or may not do this.
    Client in ClientRefusal {
        /// RFC 6749 §3.2.1: no `client_id` anywhere.
        NotNamed = "client.not_named", InvalidClient, Some("the client does not name itself"), Routine;
        /// RFC 6749 §2.3.1: the Authorization header cannot be read.
        MalformedBasic = "client.malformed_basic", InvalidClient, Some("the Authorization header is malformed"), Routine;
        /// A scheme or method that metadata does not list.
        MethodNotOffered = "client.method_not_offered", InvalidClient, Some("the authentication method is not offered"), Routine;
        /// No such client. Told apart from a wrong secret by nobody outside.
        Unknown = "client.unknown", InvalidClient, Some("client authentication failed"), Suspicious;
        /// The secret is none of the client's.
        WrongSecret = "client.wrong_secret", InvalidClient, Some("client authentication failed"), Suspicious;
        /// OAuth 2.1 §7.7: one wrong secret too many from that network.
        TooManySecrets = "client.too_many_secrets", TemporarilyUnavailable as 429, Some("too many attempts: wait and try again"), Suspicious;
        /// RFC 6749 §2.3.1, ASVS 10.4.10: a confidential client must prove itself by its registered method.
        WrongMethod = "client.wrong_method", InvalidClient, Some("client authentication failed"), Suspicious;
        /// RFC 7523 §3: the assertion is no JWS of ours to verify, or its signature is none of the client's.
        AssertionSignature = "client.assertion_signature", InvalidClient, Some("client authentication failed"), Suspicious;
        /// RFC 7523 §3: signed by the client, but claims are missing, malformed, or another client's.
        AssertionClaims = "client.assertion_claims", InvalidClient, Some("the assertion needs iss and sub, both the client_id, aud, exp and jti"), Routine;
        /// RFC 7523 §3 no. 3.
        AssertionAudience = "client.assertion_audience", InvalidClient, Some("the aud of the assertion must be the issuer"), Routine;
        /// RFC 7523 §3 nos. 4 to 6.
        AssertionTimes = "client.assertion_times", InvalidClient, Some("the assertion is over, not begun, or good for more than 5 minutes"), Routine;
        /// RFC 7523 §3 no. 7: it came before.
        AssertionReplayed = "client.assertion_replayed", InvalidClient, Some("the assertion was used before"), Suspicious;
        /// The keys at the client's `jwks_uri` cannot be had.
        KeysAway = "client.keys_away", InvalidClient, Some("the keys at the jwks_uri of the client could not be fetched"), Routine;
        /// RFC 8705 §2: no certificate, or not the one that it registered.
        WrongCertificate = "client.wrong_certificate", InvalidClient, Some("client authentication failed"), Suspicious;
        /// RFC 8705 §3: its tokens are bound to a certificate, and none was shown.
        CertificateMissing = "client.certificate_missing", InvalidRequest, Some("the client must show its certificate"), Routine;
        /// An operator disabled it.
        Disabled = "client.disabled", InvalidClient, Some("client authentication failed"), Routine;
        /// RFC 6749 §5.2: the grant type is not one of the client's.
        GrantTypeNotAllowed = "client.grant_type_not_allowed", UnauthorizedClient, Some("the client may not use this grant type"), Routine;
        /// Cookies come by themselves: the request is not one that only a page of the client's own can make.
        ForeignPage = "client.foreign_page", InvalidRequest as 403, Some("the request must come from a page of the client's own, with the header Countersign-Refresh"), Suspicious;
        /// draft-ietf-oauth-first-party-apps §5: passwords are typed into programs of our own alone.
        NotFirstParty = "client.not_first_party", UnauthorizedClient, Some("this is for first-party clients"), Routine;
        /// RFC 6749 §3.3: beyond what the client is registered for.
        ScopeNotAllowed = "client.scope_not_allowed", InvalidScope, Some("the scope is beyond what the client may ask for"), Routine;
        /// RFC 8707 §2: not a resource that the client is registered for.
        ResourceNotAllowed = "client.resource_not_allowed", InvalidTarget, Some("the resource is not one that the client may ask for"), Routine;
        /// RFC 7662 §2.1: public clients may not introspect.
        PublicMayNotIntrospect = "client.public_may_not_introspect", InvalidClient, Some("introspection is for confidential clients"), Routine;
        /// What is over is for clients that verify tokens.
        MayNotFollow = "client.may_not_follow", UnauthorizedClient as 403, Some("the client needs the scope status.read"), Routine;
        /// The claims of the token would pass 4 KiB.
        ClaimsTooLarge = "client.claims_too_large", ServerError, Some("the configured claims are too large for a token"), Fault;
    }
    /// A person did not get in. All but the throttles give the same bytes.
    Login in LoginRefusal {
        /// Nobody has that name.
        UnknownAccount = "login.unknown_account", InvalidGrant, Some("the user name or the password is wrong"), Routine;
        /// The password is another.
        WrongPassword = "login.wrong_password", InvalidGrant, Some("the user name or the password is wrong"), Routine;
        /// An operator disabled the account.
        AccountDisabled = "login.account_disabled", InvalidGrant, Some("the user name or the password is wrong"), Routine;
        /// The account changed between the check and the grant.
        AccountChanged = "login.account_changed", InvalidGrant, Some("the user name or the password is wrong"), Routine;
        /// The stored hash cannot be used.
        HashUnusable = "login.hash_unusable", InvalidGrant, Some("the user name or the password is wrong"), Fault;
        /// Too many failures for this name, known or not.
        AccountThrottled = "login.account_throttled", TemporarilyUnavailable as 429, Some("too many attempts: wait and try again"), Suspicious;
        /// Too many failures from this address prefix.
        AddressThrottled = "login.address_throttled", TemporarilyUnavailable as 429, Some("too many attempts: wait and try again"), Suspicious;
    }
    /// A refresh token did not buy anything.
    Grant in GrantRefusal {
        /// Not one of ours: form, version or MAC.
        NotAuthentic = "grant.not_authentic", InvalidGrant, Some("the refresh token is not valid"), Routine;
        /// The client's refresh tokens are in a cookie, and it is not there.
        NoCookie = "grant.no_cookie", InvalidGrant, Some("the refresh token is not valid"), Routine;
        /// Authentic, but no such grant: lost with a database.
        Unknown = "grant.unknown", InvalidGrant, Some("the refresh token is not valid"), Routine;
        /// RFC 6749 §6, RFC 9700 §4.14: bound to another client. Nothing is written.
        OtherClient = "grant.other_client", InvalidGrant, Some("the refresh token is not valid"), Suspicious;
        /// RFC 9449 §5, RFC 8705 §4: bound to a key, and another one or none was shown. Nothing is written.
        OtherKey = "grant.other_key", InvalidGrant, Some("the refresh token is not valid"), Suspicious;
        /// The grant was ended.
        Ended = "grant.ended", InvalidGrant, Some("the refresh token is not valid"), Routine;
        /// Idle or absolute life is over.
        Expired = "grant.expired", InvalidGrant, Some("the refresh token is not valid"), Routine;
        /// The account is disabled or gone.
        AccountDisabled = "grant.account_disabled", InvalidGrant, Some("the refresh token is not valid"), Routine;
        /// RFC 9700 §4.14.2: a spent token came back; the grant was ended.
        Replayed = "grant.replayed", InvalidGrant, Some("the refresh token is not valid"), Suspicious;
        /// Newer than the database: the database went back in time. Nothing is written.
        FromTheFuture = "grant.from_the_future", InvalidGrant, Some("the refresh token is not valid"), Fault;
        /// RFC 6749 §6: beyond what was granted.
        ScopeNotGranted = "grant.scope_not_granted", InvalidScope, Some("the scope is beyond what was granted"), Routine;
        /// RFC 8707 §2.2: beyond what was granted.
        ResourceNotGranted = "grant.resource_not_granted", InvalidTarget, Some("the resource is beyond what was granted"), Routine;
        /// All siblings of a generation are out; wait for one of them to be used.
        TooManyRepeats = "grant.too_many_repeats", TemporarilyUnavailable, Some("too many repeats of one refresh: wait and try again"), Suspicious;
    }
    /// An authorization request did not get a code.
    Authorize in AuthorizeRefusal {
        /// RFC 6749 §4.1.2.1: nobody to answer to; a page says so.
        UnknownClient = "authorize.unknown_client", InvalidRequest, Some("the application is not known here"), Routine;
        /// RFC 6749 §4.1.2.1, RFC 9700 §4.1.3: never redirected to; a page says so.
        RedirectNotRegistered = "authorize.redirect_not_registered", InvalidRequest, Some("the redirect_uri is not one that the application registered"), Suspicious;
        /// Parameters that say who is to be told are there twice; a page says so.
        Ambiguous = "authorize.ambiguous", InvalidRequest, Some("a parameter is given more than once"), Suspicious;
        /// RFC 9700 §2.1.2.
        ResponseType = "authorize.response_type", UnsupportedResponseType, Some("the response_type is not supported: code"), Routine;
        /// OAuth 2.0 Multiple Response Types §2.1.
        ResponseMode = "authorize.response_mode", InvalidRequest, Some("the response_mode is not supported: query or form_post"), Routine;
        /// RFC 9700 §2.1.1.
        ChallengeMissing = "authorize.challenge_missing", InvalidRequest, Some("a code_challenge is required"), Routine;
        /// RFC 9700 §2.1.1: not `plain`.
        ChallengeMethod = "authorize.challenge_method", InvalidRequest, Some("the code_challenge_method must be S256"), Routine;
        /// RFC 9101 §6: the object is not signed by the client, for us, and now; a page says so, since who is to be told is in it.
        RequestObject = "authorize.request_object", InvalidRequestObject, Some("the request object cannot be relied on"), Suspicious;
        /// RFC 9126 §4, ASVS 10.4.13: not pushed here by this client, or over; a page says so.
        RequestUriUnknown = "authorize.request_uri_unknown", InvalidRequestUri, Some("the request_uri is not known, or over"), Routine;
        /// RFC 9126 §6: the client said that it pushes its requests.
        PushRequired = "authorize.push_required", InvalidRequest, Some("the client must push its authorization requests"), Routine;
        /// RFC 9101 §10.5: the client said that it signs its requests.
        SignatureRequired = "authorize.signature_required", InvalidRequest, Some("the client must sign its authorization requests"), Routine;
        /// OpenID Connect Core §5.5.1.1: no log-in here is of a strength that the request insists on.
        StrengthUnmet = "authorize.strength_unmet", UnmetAuthenticationRequirements, Some("no log-in here meets the acr that is required"), Routine;
        /// OpenID Connect Core §7.2.1.
        RegistrationNotSupported = "authorize.registration_not_supported", RegistrationNotSupported, Some("registration is not taken"), Routine;
        /// OpenID Connect Core §3.1.2.6: `prompt=none`, and nobody is logged in as recently as wanted.
        LoginRequired = "authorize.login_required", LoginRequired, Some("the person must log in"), Routine;
        /// OpenID Connect Core §3.1.2.6: `prompt=none`, and the person was not asked yet.
        ConsentRequired = "authorize.consent_required", ConsentRequired, Some("the person must consent"), Routine;
        /// RFC 6749 §4.1.2.1.
        AccessDenied = "authorize.access_denied", AccessDenied, Some("the person did not allow it"), Routine;
        /// The step is over, or was begun in another browser; a page says so.
        StepUnknown = "authorize.step_unknown", InvalidRequest, Some("this log-in is over, or was begun in another browser"), Routine;
        /// The form did not come from our own page; a page says so.
        CrossSite = "authorize.cross_site", InvalidRequest as 403, Some("the form was not sent from this site"), Suspicious;
        /// The log-in ended, or the request was answered, while a code was being made.
        SessionChanged = "authorize.session_changed", LoginRequired, Some("the person must log in"), Routine;
    }
    /// An authorization code did not buy anything.
    Code in CodeRefusal {
        /// Not one of ours: form, version or MAC.
        NotAuthentic = "code.not_authentic", InvalidGrant, Some("the authorization code is not valid"), Routine;
        /// Authentic, but no such code: long over, or lost with a database.
        Unknown = "code.unknown", InvalidGrant, Some("the authorization code is not valid"), Routine;
        /// RFC 6749 §4.1.3: issued to another client. Nothing is written.
        OtherClient = "code.other_client", InvalidGrant, Some("the authorization code is not valid"), Suspicious;
        /// RFC 9449 §10: bound to a key, and another one or none was shown. Nothing is written.
        OtherKey = "code.other_key", InvalidGrant, Some("the authorization code is not valid"), Suspicious;
        /// RFC 6749 §4.1.3: not the redirect URI that it was sent to.
        OtherRedirect = "code.other_redirect", InvalidGrant, Some("the authorization code is not valid"), Suspicious;
        /// RFC 7636 §4.6: the verifier is missing, malformed, or another; or there is one and was no challenge (RFC 9700 §4.8.2).
        WrongVerifier = "code.wrong_verifier", InvalidGrant, Some("the authorization code is not valid"), Suspicious;
        /// Verifiers were guessed at.
        TooManyVerifiers = "code.too_many_verifiers", InvalidGrant, Some("the authorization code is not valid"), Suspicious;
        /// RFC 6749 §4.1.2: codes live a minute.
        Expired = "code.expired", InvalidGrant, Some("the authorization code is not valid"), Routine;
        /// RFC 6749 §4.1.2: used a second time; what it bought was ended.
        Replayed = "code.replayed", InvalidGrant, Some("the authorization code is not valid"), Suspicious;
        /// The log-in or the account ended, or the account changed, since.
        SessionOver = "code.session_over", InvalidGrant, Some("the authorization code is not valid"), Routine;
    }
    /// An app of our own did not get a code by itself.
    Challenge in ChallengeRefusal {
        /// draft-ietf-oauth-first-party-apps §5.2.2: the person is to be asked.
        CredentialsMissing = "challenge.credentials_missing", InsufficientAuthorization, Some("username and password are required"), Routine;
        /// draft-ietf-oauth-first-party-apps §5.2.2: unknown, over, answered, or another client's.
        SessionUnknown = "challenge.session_unknown", InvalidSession, Some("the auth_session is not valid"), Routine;
        /// draft-ietf-oauth-first-party-apps §5.2.2.1: what is asked for needs a page.
        RedirectToWeb = "challenge.redirect_to_web", RedirectToWeb, Some("this needs a browser"), Routine;
    }
    /// A device was not let in, or not yet.
    Device in DeviceRefusal {
        /// Not one of ours: form, version or MAC.
        NotAuthentic = "device.not_authentic", InvalidGrant, Some("the device code is not valid"), Routine;
        /// RFC 8628 §3.4: issued to another client. Nothing is written.
        OtherClient = "device.other_client", InvalidGrant, Some("the device code is not valid"), Suspicious;
        /// It has bought a grant.
        Used = "device.used", InvalidGrant, Some("the device code is not valid"), Routine;
        /// The log-in or the account ended, or the account changed, since the person allowed it.
        SessionOver = "device.session_over", InvalidGrant, Some("the device code is not valid"), Routine;
        /// RFC 8628 §3.5.
        Pending = "device.pending", AuthorizationPending, Some("the person has not answered yet"), Routine;
        /// RFC 8628 §3.5.
        TooFast = "device.too_fast", SlowDown, Some("the person has not answered yet: ask less often"), Routine;
        /// RFC 8628 §3.5.
        Denied = "device.denied", AccessDenied, Some("the person did not allow it"), Routine;
        /// RFC 8628 §3.5: a quarter of an hour has passed.
        Expired = "device.expired", ExpiredToken, Some("the device code is over"), Routine;
        /// No device waits under what was typed; a page says so.
        UnknownUserCode = "device.unknown_user_code", InvalidRequest, Some("no device waits under this code"), Routine;
    }
    /// An access token did not open our own door.
    Bearer in BearerRefusal {
        /// RFC 6750 §3.1: no token in the Authorization header.
        Missing = "bearer.missing", InvalidToken, None, Routine;
        /// RFC 6750 §3.1: not ours, over, or of another kind.
        Invalid = "bearer.invalid", InvalidToken, Some("the token in the header Authorization is not valid"), Routine;
        /// RFC 9449 §7.1: it is bound to a key, and the proof of it is missing, or for something else.
        Unproven = "bearer.unproven", InvalidDpopProof as 401, Some("the DPoP proof does not fit the access token and the request"), Routine;
        /// RFC 9449 §9: the proof beside it must repeat a nonce of ours.
        NonceWanted = "bearer.nonce_wanted", UseDpopNonce as 401, Some("the DPoP proof must have the nonce of the header DPoP-Nonce"), Routine;
        /// OpenID Connect Core §5.3: it was not issued for this.
        NotOpenId = "bearer.not_openid", InsufficientScope, Some("the access token does not have the scope openid"), Routine;
    }
    /// A token was not exchanged for another.
    Exchange in ExchangeRefusal {
        /// RFC 8693 §2.2.2: not an access token of ours that is in force.
        SubjectToken = "exchange.subject_token", InvalidRequest, Some("the subject_token is not valid"), Routine;
        /// RFC 8693 §2.2.2: neither meant for the client that exchanges it nor issued to it.
        NotForClient = "exchange.not_for_client", InvalidRequest, Some("the subject_token is not for this client to exchange"), Suspicious;
        /// A client's own token: there is no grant that what is made of it could die with.
        NoPerson = "exchange.no_person", InvalidRequest, Some("the subject_token has no person behind it"), Routine;
        /// RFC 8693 §2.1: not a token that is in force and for this client, or the client acts for nobody.
        ActorToken = "exchange.actor_token", InvalidRequest, Some("the actor_token is not valid, or not to be used by this client"), Routine;
        /// More have acted for the subject than a token tells of.
        TooManyActors = "exchange.too_many_actors", InvalidRequest, Some("too many have acted for the subject of the subject_token"), Suspicious;
        /// RFC 8693 §3: only access tokens are exchanged, and only for access tokens.
        TokenType = "exchange.token_type", InvalidRequest, Some("only access tokens are exchanged, for access tokens"), Routine;
    }
    /// A proof of possession does not prove it.
    Dpop in DpopRefusal {
        /// RFC 9449 §5: the client's tokens are bound to a key, and there is no proof.
        Missing = "dpop.missing", InvalidDpopProof, Some("a DPoP proof is required"), Routine;
        /// RFC 9449 §4.3 nos. 1 to 7: more than one, or no such JWT, or not signed by the key that it carries.
        Malformed = "dpop.malformed", InvalidDpopProof, Some("the DPoP proof is malformed, or not signed by its own key"), Routine;
        /// RFC 9449 §4.3 nos. 8, 9 and 12.
        OtherRequest = "dpop.other_request", InvalidDpopProof, Some("the DPoP proof is for another request: htm, htu or ath"), Routine;
        /// RFC 9449 §11.1: it came before.
        Replayed = "dpop.replayed", InvalidDpopProof, Some("the DPoP proof was used before"), Suspicious;
        /// RFC 9449 §8: too old or too far ahead without a nonce, or with one that is over.
        NonceWanted = "dpop.nonce_wanted", UseDpopNonce, Some("the DPoP proof must have the nonce of the header DPoP-Nonce"), Routine;
    }
    /// A client that registers itself did not get what it asked for.
    Registration in RegistrationRefusal {
        /// RFC 7591 §3, RFC 7592 §2: no initial access token where one is wanted, or no registration access token.
        TokenMissing = "registration.token_missing", InvalidToken, None, Routine;
        /// RFC 7591 §3.1.
        NotJson = "registration.not_json", InvalidClientMetadata as 415, Some("the body must be application/json"), Routine;
        /// Not an object, a member twice, or one of the wrong type.
        Unreadable = "registration.unreadable", InvalidClientMetadata, Some("the metadata cannot be read"), Routine;
        /// RFC 7591 §3.2.2, RFC 9700 §4.1.3.
        RedirectUri = "registration.redirect_uri", InvalidRedirectUri, Some("a value of the member cannot be registered"), Routine;
        /// RFC 7591 §3.2.2.
        Member = "registration.member", InvalidClientMetadata, Some("the value of the member cannot be registered"), Routine;
        /// RFC 7591 §3.2.2: every instance would keep it in memory.
        TooLarge = "registration.too_large", InvalidClientMetadata, Some("the metadata is more than 16 KiB"), Routine;
        /// RFC 7591 §5: an operator's to give.
        NotForRegistrants = "registration.not_for_registrants", InvalidClientMetadata, Some("the member, or its value, is not for clients that register themselves"), Routine;
        /// RFC 7592 §2.2: what is changed must be who asks.
        OtherClient = "registration.other_client", InvalidClientMetadata, Some("the member is not that of the client"), Suspicious;
        /// As many clients as may have registered themselves have.
        Full = "registration.full", TemporarilyUnavailable, Some("no more clients are registered now"), Fault;
    }
    /// We cannot do it now.
    Capacity in CapacityRefusal {
        /// The lane for this kind of work is full.
        LaneFull = "capacity.lane_full", TemporarilyUnavailable, Some("busy: wait and try again"), Routine;
        /// The request waited longer than its deadline; nothing was changed.
        DeadlinePassed = "capacity.deadline_passed", TemporarilyUnavailable, Some("busy: wait and try again"), Routine;
        /// The row kept changing under us.
        Contended = "capacity.contended", TemporarilyUnavailable, Some("busy: wait and try again"), Routine;
        /// Too many connections are taken by those who follow what is over, or by this client.
        TooManyFollow = "capacity.too_many_follow", TemporarilyUnavailable, Some("busy: wait and try again"), Routine;
        /// Too much was begun in a minute, from this network, this site or altogether: log-ins, pushed requests, devices,
        /// registrations, proofs, wrong device codes; or one log-in asked for too many codes.
        TooManyWait = "capacity.too_many_wait", TemporarilyUnavailable as 429, Some("too many requests: wait and try again"), Suspicious;
        /// The database is away or refuses.
        StoreUnavailable = "capacity.store_unavailable", TemporarilyUnavailable, Some("a part is away: wait and try again"), Fault;
        /// A row cannot be read.
        StoreCorrupt = "capacity.store_corrupt", ServerError, None, Fault;
        /// No signing key, or it does not sign.
        CannotSign = "capacity.cannot_sign", TemporarilyUnavailable, Some("a part is away: wait and try again"), Fault;
        /// The keys could not be compared with the database's for a minute.
        KeysUnconfirmed = "capacity.keys_unconfirmed", TemporarilyUnavailable, Some("a part is away: wait and try again"), Routine;
        /// No memory for a hash.
        CannotHash = "capacity.cannot_hash", TemporarilyUnavailable, Some("a part is away: wait and try again"), Fault;
        /// A defect.
        Defect = "capacity.defect", ServerError, None, Fault;
    }
}

impl Reason {
    /// Stable name for logs and metrics (`error_id`).
    pub const fn id(self) -> &'static str {
        self.row().id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_keep_to_the_characters_that_the_rfc_allows() {
        for reason in Reason::ALL {
            let text = reason.row().description.unwrap_or_default();
            // RFC 6749 §5.2: %x20-21 / %x23-5B / %x5D-7E.
            assert!(text.bytes().all(|byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)), "{text}");
        }
    }

    #[test]
    fn refusals_that_an_attacker_must_not_tell_apart_have_the_same_row() {
        let same = |reasons: &[Reason]| {
            for pair in reasons.windows(2) {
                let (one, two) = (pair[0].row(), pair[1].row());
                assert_eq!((one.code, one.status, one.description), (two.code, two.status, two.description));
            }
        };
        same(&[
            LoginRefusal::UnknownAccount.into(),
            LoginRefusal::WrongPassword.into(),
            LoginRefusal::AccountDisabled.into(),
            LoginRefusal::AccountChanged.into(),
            LoginRefusal::HashUnusable.into(),
        ]);
        same(&[LoginRefusal::AccountThrottled.into(), LoginRefusal::AddressThrottled.into()]);
        same(&[
            ClientRefusal::Unknown.into(),
            ClientRefusal::WrongSecret.into(),
            ClientRefusal::WrongMethod.into(),
            ClientRefusal::AssertionSignature.into(),
            ClientRefusal::WrongCertificate.into(),
            ClientRefusal::Disabled.into(),
        ]);
        same(&[
            GrantRefusal::NotAuthentic.into(),
            GrantRefusal::NoCookie.into(),
            GrantRefusal::Unknown.into(),
            GrantRefusal::OtherClient.into(),
            GrantRefusal::OtherKey.into(),
            GrantRefusal::Ended.into(),
            GrantRefusal::Expired.into(),
            GrantRefusal::AccountDisabled.into(),
            GrantRefusal::Replayed.into(),
            GrantRefusal::FromTheFuture.into(),
        ]);
        same(&[
            CodeRefusal::NotAuthentic.into(),
            CodeRefusal::Unknown.into(),
            CodeRefusal::OtherClient.into(),
            CodeRefusal::OtherKey.into(),
            CodeRefusal::OtherRedirect.into(),
            CodeRefusal::WrongVerifier.into(),
            CodeRefusal::TooManyVerifiers.into(),
            CodeRefusal::Expired.into(),
            CodeRefusal::Replayed.into(),
            CodeRefusal::SessionOver.into(),
        ]);
        same(&[
            DeviceRefusal::NotAuthentic.into(),
            DeviceRefusal::OtherClient.into(),
            DeviceRefusal::Used.into(),
            DeviceRefusal::SessionOver.into(),
        ]);
    }

    #[test]
    fn every_refusal_has_an_id_of_its_own() {
        let mut ids: Vec<_> = Reason::ALL.iter().map(|reason| reason.id()).collect();
        ids.sort_unstable();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
