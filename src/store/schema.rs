//! The tables as diesel sees them; `migrations/` is what makes them.

diesel::table! {
    accounts (id) {
        id -> Binary,
        email -> Text,
        email_key -> Text,
        username -> Nullable<Text>,
        username_key -> Nullable<Text>,
        password_hash -> Text,
        roles -> Text,
        created_at -> BigInt,
        disabled_at -> Nullable<BigInt>,
        credentials_version -> BigInt,
        claims -> Text,
    }
}

diesel::table! {
    browser_sessions (id) {
        id -> Binary,
        token_digest -> Binary,
        account_id -> Binary,
        credentials_version -> BigInt,
        amr -> Text,
        auth_time -> BigInt,
        created_at -> BigInt,
        seen_at -> BigInt,
        expires_at -> BigInt,
        ended_at -> Nullable<BigInt>,
        network -> Nullable<Text>,
        user_agent -> Nullable<Text>,
        remembered_id -> Nullable<Binary>,
    }
}

diesel::table! {
    authorize_requests (id_digest) {
        id_digest -> Binary,
        browser_digest -> Binary,
        parameters -> Text,
        session_id -> Nullable<Binary>,
        expires_at -> BigInt,
        page -> Nullable<Text>,
        user_code_digest -> Nullable<Binary>,
    }
}

diesel::table! {
    consents (account_id, client_id) {
        account_id -> Binary,
        client_id -> Text,
        scope -> Text,
        given_at -> BigInt,
    }
}

diesel::table! {
    authorization_codes (handle) {
        handle -> Binary,
        session_id -> Binary,
        account_id -> Binary,
        credentials_version -> BigInt,
        client_id -> Text,
        redirect_uri -> Text,
        challenge -> Nullable<Binary>,
        nonce -> Nullable<Text>,
        scope -> Text,
        audiences -> Text,
        amr -> Text,
        auth_time -> BigInt,
        created_at -> BigInt,
        expires_at -> BigInt,
        failures -> SmallInt,
        grant_id -> Nullable<Binary>,
        confirmation -> Nullable<Text>,
        claims -> Nullable<Text>,
    }
}

diesel::table! {
    one_time_values (digest) {
        digest -> Binary,
        expires_at -> BigInt,
    }
}

diesel::table! {
    pushed_requests (id_digest) {
        id_digest -> Binary,
        client_id -> Text,
        parameters -> Text,
        expires_at -> BigInt,
    }
}

diesel::table! {
    device_codes (handle) {
        handle -> Binary,
        user_code_digest -> Binary,
        client_id -> Text,
        scope -> Text,
        audiences -> Text,
        confirmation -> Nullable<Text>,
        created_at -> BigInt,
        expires_at -> BigInt,
        decision -> Nullable<Text>,
        session_id -> Nullable<Binary>,
        account_id -> Nullable<Binary>,
        credentials_version -> Nullable<BigInt>,
        amr -> Nullable<Text>,
        auth_time -> Nullable<BigInt>,
        grant_id -> Nullable<Binary>,
    }
}

diesel::table! {
    logout_notices (grant_id) {
        grant_id -> Binary,
        client_id -> Text,
        account_id -> Binary,
        attempts -> SmallInt,
        due_at -> BigInt,
        created_at -> BigInt,
    }
}

diesel::table! {
    remembered_log_ins (id) {
        id -> Binary,
        secret_digest -> Binary,
        spent_digest -> Nullable<Binary>,
        account_id -> Binary,
        credentials_version -> BigInt,
        amr -> Text,
        auth_time -> BigInt,
        moved_at -> BigInt,
        expires_at -> BigInt,
        ended_at -> Nullable<BigInt>,
        network -> Text,
        user_agent -> Text,
        kept_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    initial_access_tokens (digest) {
        digest -> Binary,
        uses_left -> Integer,
        created_at -> BigInt,
        expires_at -> BigInt,
    }
}

diesel::table! {
    login_attempts (key) {
        key -> Binary,
        failures -> Integer,
        blocked_until -> BigInt,
        tried_at -> BigInt,
        succeeded_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    clients (id) {
        id -> Text,
        metadata -> Text,
        created_at -> BigInt,
        disabled_at -> Nullable<BigInt>,
        not_before -> BigInt,
        status_position -> BigInt,
        registration_digest -> Nullable<Binary>,
        unused_since -> Nullable<BigInt>,
    }
}

diesel::table! {
    client_secrets (id) {
        id -> Binary,
        client_id -> Text,
        digest -> Binary,
        key_version -> Integer,
        created_at -> BigInt,
    }
}

diesel::table! {
    grants (id) {
        id -> Binary,
        handle -> Binary,
        account_id -> Binary,
        client_id -> Text,
        scope -> Text,
        audiences -> Text,
        amr -> Text,
        auth_time -> BigInt,
        created_at -> BigInt,
        generation -> Integer,
        winner -> SmallInt,
        siblings -> SmallInt,
        rotated_at -> BigInt,
        attempt -> Nullable<Binary>,
        idle_expires_at -> BigInt,
        expires_at -> BigInt,
        ended_at -> Nullable<BigInt>,
        ended_by -> Nullable<Text>,
        credentials_version -> BigInt,
        status_position -> BigInt,
        session_id -> Nullable<Binary>,
        confirmation -> Nullable<Text>,
        claims -> Nullable<Text>,
        subject -> Nullable<Text>,
        remembered_id -> Nullable<Binary>,
    }
}

diesel::table! {
    pairwise_subjects (account_id, sector) {
        account_id -> Binary,
        sector -> Text,
        subject -> Text,
    }
}

diesel::table! {
    status_lists (list) {
        list -> Integer,
        permutation -> Binary,
    }
}

diesel::table! {
    status_leases (block) {
        block -> BigInt,
        holder -> Binary,
        leased_at -> BigInt,
    }
}

diesel::table! {
    status_bits (position) {
        position -> BigInt,
        ended_at -> BigInt,
        cleared_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    cutoffs (kind, value) {
        kind -> Text,
        value -> Text,
        not_before -> BigInt,
        until -> BigInt,
    }
}

diesel::table! {
    status_feed (id) {
        id -> Integer,
        seq -> BigInt,
        at -> BigInt,
        at_before -> BigInt,
        hash_key -> Binary,
    }
}

diesel::table! {
    status_changes (seq) {
        seq -> BigInt,
        at -> BigInt,
        at_before -> BigInt,
        body -> Text,
    }
}

diesel::table! {
    status_receipts (verifier) {
        verifier -> Binary,
        client_id -> Text,
        name -> Text,
        seq -> BigInt,
        at -> BigInt,
    }
}

diesel::table! {
    outbox (id) {
        id -> Binary,
        task -> Text,
        subject -> Text,
        due_at -> BigInt,
        done_to -> Binary,
    }
}

diesel::table! {
    revoked_tokens (jti) {
        jti -> Text,
        expires_at -> BigInt,
    }
}

diesel::table! {
    signing_keys (kid) {
        kid -> Text,
        position -> Integer,
        state -> Text,
        origin -> Text,
        algorithm -> Text,
        modulus -> Binary,
        exponent -> Binary,
        wrapped -> Nullable<Binary>,
        key_version -> Integer,
        published_at -> BigInt,
        activated_at -> Nullable<BigInt>,
        retiring_at -> Nullable<BigInt>,
        ended_at -> Nullable<BigInt>,
        longest_life -> BigInt,
    }
}

diesel::table! {
    instances (id) {
        id -> Binary,
        seen_at -> BigInt,
        left_at -> Nullable<BigInt>,
        signing_keys_epoch -> BigInt,
        master_key_version -> Integer,
        master_key_check -> BigInt,
    }
}

diesel::table! {
    audit_events (id) {
        id -> Binary,
        at -> BigInt,
        actor -> Text,
        event -> Text,
        subject -> Text,
        details -> Text,
    }
}

diesel::table! {
    epochs (name) {
        name -> Text,
        value -> BigInt,
    }
}

diesel::joinable!(grants -> accounts (account_id));
diesel::joinable!(authorization_codes -> accounts (account_id));
diesel::joinable!(browser_sessions -> accounts (account_id));
diesel::joinable!(remembered_log_ins -> accounts (account_id));
diesel::allow_tables_to_appear_in_same_query!(grants, accounts, browser_sessions, consents, remembered_log_ins);
diesel::allow_tables_to_appear_in_same_query!(authorization_codes, accounts);
diesel::joinable!(logout_notices -> clients (client_id));
diesel::allow_tables_to_appear_in_same_query!(clients, consents, logout_notices);
