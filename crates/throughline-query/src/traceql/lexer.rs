//! Splits a TraceQL query into tokens.

use crate::syntax_error::SyntaxError;

/// Operators and brackets, longer ones first.
const SYMBOLS: [&str; 37] = [
    "&>>", "&<<", "!>>", "!<<", "&>", "&<", "&~", "!>", "!<", "!~", "=~", "!=", ">=", "<=", ">>",
    "<<", "&&", "||", "{", "}", "(", ")", "=", "!", ">", "<", "|", "~", ",", "&", ";", "+", "-",
    "*", "/", "^", "%",
];

/// Characters that end a word.
pub(crate) const WORD_ENDS: [char; 14] = [
    '{', '}', '(', ')', '=', '!', '>', '<', '|', '&', '~', ',', '"', '`',
];

/// A token and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueryToken {
    pub(crate) kind: TokenKind,
    /// Position of its first character.
    pub(crate) position: usize,
    /// Position after its last character.
    pub(crate) end: usize,
}

/// The kind of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// Name, number or duration. Quoted parts after a `.` belong to it: `span."my key"`.
    Word {
        text: String,
        /// A part was quoted, so the word can only be an attribute.
        is_key: bool,
    },
    /// Quoted text.
    Quoted(String),
    /// Operator or bracket.
    Symbol(&'static str),
}

/// Returns the tokens of a query.
pub(crate) fn tokenize(text: &str) -> Result<Vec<QueryToken>, SyntaxError> {
    // Positions are in characters, which is how a text field counts.
    let characters: Vec<char> = text.chars().collect();
    let mut lexer = QueryLexer::new(&characters);
    let mut tokens = Vec::new();
    while let Some(token) = lexer.token()? {
        tokens.push(token);
    }
    Ok(tokens)
}

/// A position in a query, and what can be read from there.
pub(crate) struct QueryLexer<'a> {
    characters: &'a [char],
    at: usize,
}

// === impl QueryLexer ===

impl<'a> QueryLexer<'a> {
    pub(crate) const fn new(characters: &'a [char]) -> Self {
        Self { characters, at: 0 }
    }

    /// Returns the position in characters.
    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    pub(crate) const fn seek(&mut self, position: usize) {
        self.at = position;
    }

    pub(crate) fn skip_spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// Reads up to a space, or to a character that does not belong.
    pub(crate) fn run(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while let Some(character) = self.peek()
            && !character.is_whitespace()
            && belongs(character)
        {
            text.push(character);
            self.at += 1;
        }
        text
    }

    /// Returns the text from here to the end.
    pub(crate) fn rest(&self) -> String {
        let rest = self.characters.get(self.at..).unwrap_or_default();
        rest.iter().collect()
    }

    fn token(&mut self) -> Result<Option<QueryToken>, SyntaxError> {
        self.skip_spaces();
        let position = self.at;
        let Some(first) = self.peek() else {
            return Ok(None);
        };
        let kind = if matches!(first, '"' | '`') {
            TokenKind::Quoted(self.quoted(first)?)
        } else if let Some(symbol) = self.symbol() {
            self.at += symbol.len();
            TokenKind::Symbol(symbol)
        } else {
            self.word()?
        };
        Ok(Some(QueryToken {
            kind,
            position,
            end: self.at,
        }))
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    /// Returns the longest symbol at the current position; all are ASCII.
    fn symbol(&self) -> Option<&'static str> {
        let rest = self.characters.get(self.at..).unwrap_or_default();
        // The order of the list makes this the longest match.
        SYMBOLS.into_iter().find(|symbol| {
            symbol
                .chars()
                .enumerate()
                .all(|(at, own)| rest.get(at) == Some(&own))
        })
    }

    /// Reads a text in double quotes, with escapes, or in backquotes, without.
    pub(crate) fn quoted(&mut self, quote: char) -> Result<String, SyntaxError> {
        let position = self.at;
        let mut text = String::new();
        self.at += 1;
        while let Some(character) = self.peek() {
            self.at += 1;
            if character == quote {
                return Ok(text);
            }
            if character == '\\' && quote == '"' {
                text.push(self.escaped(position)?);
            } else {
                text.push(character);
            }
        }
        Err(SyntaxError::at(
            position,
            format!("the quote is not closed: add {quote} at the end"),
        ))
    }

    fn escaped(&mut self, position: usize) -> Result<char, SyntaxError> {
        let character = self.peek().ok_or_else(|| {
            SyntaxError::at(position, "the quote is not closed: add \" at the end")
        })?;
        self.at += 1;
        match character {
            'n' => Ok('\n'),
            't' => Ok('\t'),
            'r' => Ok('\r'),
            '"' | '\\' | '\'' => Ok(character),
            other => Err(SyntaxError::at(
                self.at - 2,
                format!(
                    "unknown escape \\{other}: write \\\\{other}, or put the text in backquotes"
                ),
            )),
        }
    }

    fn word(&mut self) -> Result<TokenKind, SyntaxError> {
        let mut text = String::new();
        let mut is_key = false;
        while let Some(character) = self.peek() {
            // Only directly after a dot: elsewhere a quote begins a token of its own.
            if character == '"' && text.ends_with('.') {
                text.push_str(&self.quoted('"')?);
                is_key = true;
            } else if character.is_whitespace()
                || WORD_ENDS.contains(&character)
                || ends_number(&text, character)
            {
                break;
            } else {
                text.push(character);
                self.at += 1;
            }
        }
        Ok(TokenKind::Word { text, is_key })
    }
}

/// Returns whether an operator ends a number. In a name it does not: `span.a-b` is one attribute.
fn ends_number(text: &str, next: char) -> bool {
    match next {
        '^' => true,
        '+' | '-' => is_number_like(text) && !text.ends_with(['e', 'E']),
        '*' | '/' | '%' => is_number_like(text),
        _ => false,
    }
}

fn is_number_like(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
}

// === impl QueryToken ===

impl QueryToken {
    /// Returns the error that something else was expected at this token.
    pub(crate) fn unexpected(&self, expected: &str) -> SyntaxError {
        SyntaxError::at(
            self.position,
            format!("expected {expected}, found {}", self.display()),
        )
    }

    /// Returns the token as it was written, apart from escapes.
    pub(crate) fn written(&self) -> String {
        match &self.kind {
            TokenKind::Word { text, .. } => text.clone(),
            TokenKind::Quoted(text) => format!("{text:?}"),
            TokenKind::Symbol(symbol) => (*symbol).to_owned(),
        }
    }

    fn display(&self) -> String {
        match &self.kind {
            TokenKind::Word { text, .. } => format!("`{text}`"),
            TokenKind::Quoted(text) => format!("{text:?}"),
            TokenKind::Symbol(symbol) => format!("`{symbol}`"),
        }
    }
}
