//! SASL tokens: after SaslHandshake v0 the client and the broker exchange tokens without headers,
//! each with a length in front. They pass unmodified.

/// Exchange of SASL tokens on a connection.
#[derive(Debug, Default)]
pub(super) struct SaslExchange {
    /// Tokens of the client that the broker has not answered.
    unanswered: u32,
}

// === impl SaslExchange ===

impl SaslExchange {
    pub(super) const fn token_sent(&mut self) {
        self.unanswered = self.unanswered.saturating_add(1);
    }

    pub(super) const fn token_answered(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// Returns whether the next frame of the broker is a token: it answers requests first.
    pub(super) const fn expects_token(&self, in_flight: usize) -> bool {
        // The handshake itself is answered by a frame with a header.
        self.unanswered > 0 && in_flight == 0
    }

    /// Ends the exchange of tokens, since a request arrived. Returns whether a token of the client
    /// has no answer: the last one of GSSAPI never does.
    pub(super) const fn end(&mut self) -> bool {
        let is_unanswered = self.unanswered > 0;
        self.unanswered = 0;
        is_unanswered
    }
}
