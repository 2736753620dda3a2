//! Parses the subset of TraceQL that the parent module describes.

use throughline_store::{SpanFilter, TraceExpression, ValuePredicate};

use super::lexer::{QueryToken, TokenKind};
use super::literal::{self, FilterOperator, QueryLiteral};
use super::syntax_error::SyntaxError;

/// Stages that are supported.
const STAGES: &str = "count() or select()";

/// Maximum depth of parentheses and negations.
const MAX_DEPTH: usize = 64;

/// Parses a whole query.
pub(super) fn parse(tokens: &[QueryToken]) -> Result<TraceExpression, SyntaxError> {
    let mut parser = TraceqlParser {
        tokens,
        at: 0,
        depth: 0,
    };
    let mut expression = parser.spansets()?;
    while parser.take("|") {
        expression = parser.stage(expression)?;
    }
    if parser.word() == Some("with") {
        parser.at += 1;
        parser.skip_parentheses()?;
    }
    match parser.peek() {
        None => Ok(expression),
        Some(token) => Err(token.unexpected("the end, &&, || or |")),
    }
}

struct TraceqlParser<'a> {
    tokens: &'a [QueryToken],
    at: usize,
    depth: usize,
}

// === impl TraceqlParser ===

impl<'a> TraceqlParser<'a> {
    fn peek(&self) -> Option<&'a QueryToken> {
        self.tokens.get(self.at)
    }

    fn symbol(&self) -> Option<&'static str> {
        match self.peek()?.kind {
            TokenKind::Symbol(symbol) => Some(symbol),
            TokenKind::Word { .. } | TokenKind::Quoted(_) => None,
        }
    }

    fn word(&self) -> Option<&'a str> {
        match &self.peek()?.kind {
            TokenKind::Word {
                text,
                is_key: false,
            } => Some(text),
            TokenKind::Word { .. } | TokenKind::Symbol(_) | TokenKind::Quoted(_) => None,
        }
    }

    fn take(&mut self, symbol: &str) -> bool {
        let is_here = self.symbol() == Some(symbol);
        self.at += usize::from(is_here);
        is_here
    }

    fn expect(&mut self, symbol: &str) -> Result<(), SyntaxError> {
        if self.take(symbol) {
            Ok(())
        } else {
            Err(self.unexpected(&format!("`{symbol}`")))
        }
    }

    fn unexpected(&self, expected: &str) -> SyntaxError {
        match self.peek() {
            Some(token) => token.unexpected(expected),
            None => {
                // The error lies behind the last token, where something is missing.
                let end = self.tokens.last().map_or(0, |token| token.end);
                SyntaxError::at(
                    end,
                    format!("expected {expected}, found the end of the query"),
                )
            }
        }
    }

    /// Parses something one level deeper. The limit keeps recursion from exhausting the stack.
    fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<T, SyntaxError> {
        if self.depth >= MAX_DEPTH {
            return Err(self.unexpected(&format!("something nested less than {MAX_DEPTH} deep")));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn spansets(&mut self) -> Result<TraceExpression, SyntaxError> {
        let mut any = vec![self.spansets_and()?];
        while self.take("||") {
            any.push(self.spansets_and()?);
        }
        // After both loops, so that the error names the operator and not the end of the query.
        self.reject_structure()?;
        Ok(single(any, TraceExpression::Any))
    }

    fn spansets_and(&mut self) -> Result<TraceExpression, SyntaxError> {
        let mut all = vec![self.spanset()?];
        while self.take("&&") {
            all.push(self.spanset()?);
        }
        Ok(single(all, TraceExpression::All))
    }

    fn spanset(&mut self) -> Result<TraceExpression, SyntaxError> {
        if self.take("(") {
            let inner = self.nested(Self::spansets)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if !self.take("{") {
            return Err(self.unexpected("`{`, the beginning of a spanset"));
        }
        // `{}` matches every span.
        let filter = if self.symbol() == Some("}") {
            SpanFilter::All(Vec::new())
        } else {
            self.any()?
        };
        if !self.take("}") {
            return Err(self.unclosed());
        }
        Ok(TraceExpression::Spans(filter))
    }

    /// Returns the error for a token where a spanset should end. Directly behind a value, the token
    /// is part of one that needs quotes.
    fn unclosed(&self) -> SyntaxError {
        let mut error = self.unexpected("&&, || or the closing `}`");
        let before = self.at.checked_sub(1);
        let run = before.map(|before| self.unquoted_run(before));
        if let (Some(run), Some(token), Some(before)) = (run, self.peek(), before)
            && self.tokens.get(before).map(|token| token.end) == Some(token.position)
            && run.len() > 1
        {
            let quoting = format!(": put texts in quotes, as in {:?}", run.concat());
            error.message.push_str(&quoting);
        }
        error
    }

    /// Returns the tokens from a position on that are written without a space between them, up to
    /// an operator that cannot be part of a value.
    fn unquoted_run(&self, from: usize) -> Vec<String> {
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

    fn reject_structure(&self) -> Result<(), SyntaxError> {
        let Some(token) = self.peek() else {
            return Ok(());
        };
        match token.kind {
            TokenKind::Symbol(
                symbol @ (">>" | "<<" | ">" | "<" | "~" | "&>>" | "&<<" | "&>" | "&<" | "&~"
                | "!>>" | "!<<" | "!~" | "!"),
            ) => Err(SyntaxError::at(
                token.position,
                format!(
                    "the structural operator `{symbol}` is not supported yet: \
                     join the spansets with && instead"
                ),
            )),
            TokenKind::Symbol(_) | TokenKind::Word { .. } | TokenKind::Quoted(_) => Ok(()),
        }
    }

    /// Parses a pipeline stage: `count() > 2`, or `select(..)`, which has no effect.
    fn stage(&mut self, inner: TraceExpression) -> Result<TraceExpression, SyntaxError> {
        let Some(token) = self.peek() else {
            return Err(self.unexpected(STAGES));
        };
        let Some(word) = self.word() else {
            return Err(self.unexpected(STAGES));
        };
        self.at += 1;
        match word {
            "select" => {
                self.skip_parentheses()?;
                Ok(inner)
            }
            "count" => {
                self.expect("(")?;
                self.expect(")")?;
                let Some(comparison) = self.symbol().and_then(literal::comparison) else {
                    return Err(self.unexpected("a comparison, as in count() > 2"));
                };
                self.at += 1;
                let Some(number) = self.word().and_then(|word| word.parse().ok()) else {
                    return Err(self.unexpected("a whole number"));
                };
                self.at += 1;
                Ok(TraceExpression::Count(Box::new(inner), comparison, number))
            }
            other => Err(SyntaxError::at(
                token.position,
                format!("the stage `| {other}` is not supported yet: use {STAGES}"),
            )),
        }
    }

    fn skip_parentheses(&mut self) -> Result<(), SyntaxError> {
        self.expect("(")?;
        while !self.take(")") {
            // The content has no effect here, so it is not checked.
            if self.peek().is_none() {
                return Err(self.unexpected("`)`"));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn any(&mut self) -> Result<SpanFilter, SyntaxError> {
        // `&&` binds tighter than `||`, as in TraceQL.
        let mut any = vec![self.all()?];
        while self.take("||") {
            any.push(self.all()?);
        }
        Ok(single(any, SpanFilter::Any))
    }

    fn all(&mut self) -> Result<SpanFilter, SyntaxError> {
        let mut all = vec![self.unary()?];
        while self.take("&&") {
            all.push(self.unary()?);
        }
        Ok(single(all, SpanFilter::All))
    }

    fn unary(&mut self) -> Result<SpanFilter, SyntaxError> {
        if self.take("!") {
            return Ok(SpanFilter::Not(Box::new(self.nested(Self::unary)?)));
        }
        if self.take("(") {
            let inner = self.nested(Self::any)?;
            self.expect(")")?;
            return Ok(inner);
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<SpanFilter, SyntaxError> {
        let Some(QueryToken {
            kind: TokenKind::Word { text, is_key },
            position,
            ..
        }) = self.peek()
        else {
            return Err(self.unexpected("a field, as in span.http.route or duration"));
        };
        self.at += 1;
        if !is_key && matches!(text.as_str(), "true" | "false") {
            let never = SpanFilter::Any(Vec::new());
            return Ok(if text == "true" {
                SpanFilter::All(Vec::new())
            } else {
                never
            });
        }
        let field =
            literal::field(text, *is_key).map_err(|message| SyntaxError::at(*position, message))?;
        let Some(operator) = self.symbol().and_then(FilterOperator::from_symbol) else {
            // A bare field must be true.
            return match self.symbol() {
                Some("}" | ")" | "&&" | "||") => {
                    Ok(SpanFilter::Is(field, ValuePredicate::equal("true")))
                }
                _ => Err(self.unexpected("a comparison (= != > >= < <= =~ !~)")),
            };
        };
        self.at += 1;
        let (literal, position) = self.literal()?;
        let (field, predicate) = literal::predicate(field, operator, &literal)
            .map_err(|message| SyntaxError::at(position, message))?;
        Ok(SpanFilter::Is(field, predicate))
    }

    fn literal(&mut self) -> Result<(QueryLiteral, usize), SyntaxError> {
        let Some(token) = self.peek() else {
            return Err(self.unexpected("a value"));
        };
        let literal = match &token.kind {
            TokenKind::Quoted(text) => QueryLiteral::Text(text.clone()),
            TokenKind::Word { text, .. } => match QueryLiteral::from_word(text) {
                // With what follows it, so that the error shows the whole text in quotes.
                QueryLiteral::Word(_) => QueryLiteral::Word(self.unquoted_run(self.at).concat()),
                literal @ (QueryLiteral::Text(_)
                | QueryLiteral::Number(..)
                | QueryLiteral::Time(_)
                | QueryLiteral::Boolean(_)
                | QueryLiteral::Nil) => literal,
            },
            TokenKind::Symbol(_) => return Err(self.unexpected("a value")),
        };
        self.at += 1;
        Ok((literal, token.position))
    }
}

/// Returns the only part, or joins several.
fn single<T>(mut parts: Vec<T>, join: fn(Vec<T>) -> T) -> T {
    if parts.len() == 1
        && let Some(only) = parts.pop()
    {
        return only;
    }
    join(parts)
}
