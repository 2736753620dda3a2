//! TraceQL, as far as it goes; see the module above.

use throughline_store::{Expression, Filter, Test};

use super::Mistake;
use super::lexer::{Lexeme, Token};
use super::literal::{self, Literal, Operator};

/// Reads a whole query.
pub(super) fn parse(tokens: &[Token]) -> Result<Expression, Mistake> {
    let mut parser = Parser {
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

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

// === impl Parser ===

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    fn symbol(&self) -> Option<&'static str> {
        match self.peek()?.lexeme {
            Lexeme::Symbol(symbol) => Some(symbol),
            Lexeme::Word { .. } | Lexeme::Quoted(_) => None,
        }
    }

    fn word(&self) -> Option<&'a str> {
        match &self.peek()?.lexeme {
            Lexeme::Word {
                text,
                is_key: false,
            } => Some(text),
            Lexeme::Word { .. } | Lexeme::Symbol(_) | Lexeme::Quoted(_) => None,
        }
    }

    fn take(&mut self, symbol: &str) -> bool {
        let is_here = self.symbol() == Some(symbol);
        self.at += usize::from(is_here);
        is_here
    }

    fn expect(&mut self, symbol: &str) -> Result<(), Mistake> {
        if self.take(symbol) {
            Ok(())
        } else {
            Err(self.unexpected(&format!("`{symbol}`")))
        }
    }

    fn unexpected(&self, wanted: &str) -> Mistake {
        match self.peek() {
            Some(token) => token.unexpected(wanted),
            None => {
                let end = self.tokens.last().map_or(0, |token| token.end);
                Mistake::at(end, format!("the query ends where {wanted} is expected"))
            }
        }
    }

    /// One level deeper, which must not go on for ever.
    fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Mistake>,
    ) -> Result<T, Mistake> {
        if self.depth >= DEPTH_MAX {
            return Err(self.unexpected(&format!("something nested less than {DEPTH_MAX} deep")));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn spansets(&mut self) -> Result<Expression, Mistake> {
        let mut any = vec![self.spansets_and()?];
        while self.take("||") {
            any.push(self.spansets_and()?);
        }
        self.refuse_structure()?;
        Ok(single(any, Expression::Any))
    }

    fn spansets_and(&mut self) -> Result<Expression, Mistake> {
        let mut all = vec![self.spanset()?];
        while self.take("&&") {
            all.push(self.spanset()?);
        }
        Ok(single(all, Expression::All))
    }

    fn spanset(&mut self) -> Result<Expression, Mistake> {
        if self.take("(") {
            let inner = self.deeper(Self::spansets)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if !self.take("{") {
            return Err(self.unexpected("`{`, which begins a set of spans,"));
        }
        let filter = if self.symbol() == Some("}") {
            Filter::All(Vec::new())
        } else {
            self.any()?
        };
        if !self.take("}") {
            return Err(self.unexpected("&&, || or the closing `}`"));
        }
        Ok(Expression::Spans(filter))
    }

    fn refuse_structure(&self) -> Result<(), Mistake> {
        let Some(token) = self.peek() else {
            return Ok(());
        };
        match token.lexeme {
            Lexeme::Symbol(
                symbol @ (">>" | "<<" | ">" | "<" | "~" | "&>>" | "&<<" | "&>" | "&<" | "&~"
                | "!>>" | "!<<" | "!~" | "!"),
            ) => Err(Mistake::at(
                token.position,
                format!(
                    "structure between spans (`{symbol}`) is not understood yet: join the sets with && instead"
                ),
            )),
            Lexeme::Symbol(_) | Lexeme::Word { .. } | Lexeme::Quoted(_) => Ok(()),
        }
    }

    /// `count() > 2`, or what changes nothing here.
    fn stage(&mut self, of: Expression) -> Result<Expression, Mistake> {
        const WANTED: &str = "count() or select()";
        let Some(token) = self.peek() else {
            return Err(self.unexpected(WANTED));
        };
        let Some(word) = self.word() else {
            return Err(self.unexpected(WANTED));
        };
        self.at += 1;
        match word {
            "select" => {
                self.skip_parentheses()?;
                Ok(of)
            }
            "count" => {
                self.expect("(")?;
                self.expect(")")?;
                let Some(comparison) = self.symbol().and_then(literal::comparison) else {
                    return Err(self.unexpected("a comparison, as in count() > 2,"));
                };
                self.at += 1;
                let Some(number) = self.word().and_then(|word| word.parse().ok()) else {
                    return Err(self.unexpected("a whole number"));
                };
                self.at += 1;
                Ok(Expression::Count(Box::new(of), comparison, number))
            }
            other => Err(Mistake::at(
                token.position,
                format!("`| {other}` is not understood yet: there is {WANTED}"),
            )),
        }
    }

    fn skip_parentheses(&mut self) -> Result<(), Mistake> {
        self.expect("(")?;
        while !self.take(")") {
            if self.peek().is_none() {
                return Err(self.unexpected("`)`"));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn any(&mut self) -> Result<Filter, Mistake> {
        let mut any = vec![self.all()?];
        while self.take("||") {
            any.push(self.all()?);
        }
        Ok(single(any, Filter::Any))
    }

    fn all(&mut self) -> Result<Filter, Mistake> {
        let mut all = vec![self.unary()?];
        while self.take("&&") {
            all.push(self.unary()?);
        }
        Ok(single(all, Filter::All))
    }

    fn unary(&mut self) -> Result<Filter, Mistake> {
        if self.take("!") {
            return Ok(Filter::Not(Box::new(self.deeper(Self::unary)?)));
        }
        if self.take("(") {
            let inner = self.deeper(Self::any)?;
            self.expect(")")?;
            return Ok(inner);
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Filter, Mistake> {
        let Some(Token {
            lexeme: Lexeme::Word { text, is_key },
            position,
            ..
        }) = self.peek()
        else {
            return Err(self.unexpected("a field, as in span.http.route or duration,"));
        };
        self.at += 1;
        if !is_key && matches!(text.as_str(), "true" | "false") {
            let nothing = Filter::Any(Vec::new());
            return Ok(if text == "true" {
                Filter::All(Vec::new())
            } else {
                nothing
            });
        }
        let field =
            literal::field(text, *is_key).map_err(|message| Mistake::at(*position, message))?;
        let Some(operator) = self.symbol().and_then(Operator::from_symbol) else {
            // A field alone is asked to be true.
            return match self.symbol() {
                Some("}" | ")" | "&&" | "||") => Ok(Filter::Is(field, Test::equal("true"))),
                _ => Err(self.unexpected("a comparison (= != > >= < <= =~ !~)")),
            };
        };
        self.at += 1;
        let (literal, position) = self.literal()?;
        let (field, test) = literal::test(field, operator, &literal)
            .map_err(|message| Mistake::at(position, message))?;
        Ok(Filter::Is(field, test))
    }

    fn literal(&mut self) -> Result<(Literal, usize), Mistake> {
        let Some(token) = self.peek() else {
            return Err(self.unexpected("a value"));
        };
        let literal = match &token.lexeme {
            Lexeme::Quoted(text) => Literal::Text(text.clone()),
            Lexeme::Word { text, .. } => Literal::of_word(text),
            Lexeme::Symbol(_) => return Err(self.unexpected("a value")),
        };
        self.at += 1;
        Ok((literal, token.position))
    }
}

/// One is itself, several are joined.
fn single<T>(mut parts: Vec<T>, join: fn(Vec<T>) -> T) -> T {
    if parts.len() == 1
        && let Some(only) = parts.pop()
    {
        return only;
    }
    join(parts)
}

/// Levels of parentheses and negations.
const DEPTH_MAX: usize = 64;
