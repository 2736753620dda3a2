//! A position in the tokens of a query.

use super::lexer::{QueryToken, TokenKind};
use crate::syntax_error::SyntaxError;

/// Maximum depth of parentheses and negations.
const MAX_DEPTH: usize = 64;

/// Maximum number of operators in a row, because evaluation nests as deep.
const MAX_CHAIN: usize = 256;

/// A position in the tokens of a query.
pub(super) struct TokenCursor<'a> {
    tokens: &'a [QueryToken],
    at: usize,
    depth: usize,
}

// === impl TokenCursor ===

impl<'a> TokenCursor<'a> {
    pub(super) const fn new(tokens: &'a [QueryToken]) -> Self {
        Self {
            tokens,
            at: 0,
            depth: 0,
        }
    }

    pub(super) fn peek(&self) -> Option<&'a QueryToken> {
        self.tokens.get(self.at)
    }

    pub(super) const fn advance(&mut self) {
        self.at += 1;
    }

    pub(super) const fn index(&self) -> usize {
        self.at
    }

    /// Returns the position of the current token, or the end of the query.
    pub(super) fn position(&self) -> usize {
        let end = || self.tokens.last().map_or(0, |token| token.end);
        self.peek().map_or_else(end, |token| token.position)
    }

    pub(super) fn symbol(&self) -> Option<&'static str> {
        match self.peek()?.kind {
            TokenKind::Symbol(symbol) => Some(symbol),
            TokenKind::Word { .. } | TokenKind::Quoted(_) => None,
        }
    }

    pub(super) fn word(&self) -> Option<&'a str> {
        match &self.peek()?.kind {
            TokenKind::Word {
                text,
                is_key: false,
            } => Some(text),
            TokenKind::Word { .. } | TokenKind::Symbol(_) | TokenKind::Quoted(_) => None,
        }
    }

    /// Returns whether the token after the current one is this symbol.
    pub(super) fn is_followed_by(&self, symbol: &str) -> bool {
        let next = self.tokens.get(self.at + 1);
        next.is_some_and(|token| matches!(token.kind, TokenKind::Symbol(own) if own == symbol))
    }

    pub(super) fn take(&mut self, symbol: &str) -> bool {
        let is_here = self.symbol() == Some(symbol);
        self.at += usize::from(is_here);
        is_here
    }

    pub(super) fn expect(&mut self, symbol: &str) -> Result<(), SyntaxError> {
        if self.take(symbol) {
            Ok(())
        } else {
            Err(self.unexpected(&format!("`{symbol}`")))
        }
    }

    pub(super) fn unexpected(&self, expected: &str) -> SyntaxError {
        match self.peek() {
            Some(token) => token.unexpected(expected),
            // The error lies behind the last token, where something is missing.
            None => SyntaxError::at(
                self.position(),
                format!("expected {expected}, found the end of the query"),
            ),
        }
    }

    /// Enters something one level deeper. The limit keeps recursion from exhausting the stack.
    pub(super) fn enter(&mut self) -> Result<(), SyntaxError> {
        if self.depth >= MAX_DEPTH {
            return Err(self.unexpected(&format!("something nested less than {MAX_DEPTH} deep")));
        }
        self.depth += 1;
        Ok(())
    }

    pub(super) const fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Counts an operator of a chain.
    pub(super) fn count(&self, chain: &mut usize) -> Result<(), SyntaxError> {
        *chain += 1;
        if *chain > MAX_CHAIN {
            let message = format!("more than {MAX_CHAIN} operators in a row: make several queries");
            return Err(SyntaxError::at(self.position(), message));
        }
        Ok(())
    }

    /// Returns the tokens between two indexes as text, with a space between tokens that were
    /// written apart.
    pub(super) fn written(&self, from: usize, until: usize) -> String {
        let mut text = String::new();
        let mut end = None;
        for token in self.tokens.get(from..until).unwrap_or_default() {
            if end.is_some_and(|end| end != token.position) {
                text.push(' ');
            }
            text.push_str(&token.written());
            end = Some(token.end);
        }
        text
    }

    /// Returns the tokens from a position on that are written without a space between them, up to
    /// an operator that cannot be part of a value.
    pub(super) fn unquoted_run(&self, from: usize) -> Vec<String> {
        let tokens = self.tokens.get(from..).unwrap_or_default();
        let mut run: Vec<String> = Vec::new();
        let mut end = None;
        for token in tokens {
            let is_apart = end.is_some_and(|end| end != token.position);
            let is_end = matches!(
                token.kind,
                TokenKind::Symbol("}" | ")" | "{" | "&&" | "||" | "|")
            );
            if is_apart || is_end {
                break;
            }
            run.push(token.written());
            end = Some(token.end);
        }
        run
    }

    /// Returns the error for a token where an expression should end. Directly behind a value, the
    /// token is part of one that needs quotes.
    pub(super) fn unclosed(&self) -> SyntaxError {
        let mut error = self.unexpected("&&, || or the closing `}`");
        let before = self.at.checked_sub(1);
        if let (Some(before), Some(token)) = (before, self.peek())
            && self.tokens.get(before).map(|token| token.end) == Some(token.position)
            && let run = self.unquoted_run(before)
            && run.len() > 1
        {
            let quoting = format!(": put texts in quotes, as in {:?}", run.concat());
            error.message.push_str(&quoting);
        }
        error
    }
}
