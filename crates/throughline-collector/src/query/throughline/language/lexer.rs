//! A query line in pieces, each with its place.

use super::Mistake;

/// A piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) lexeme: Lexeme,
    /// Where it begins, in characters.
    pub(super) position: usize,
    /// Where it ends.
    pub(super) end: usize,
}

/// What a piece is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lexeme {
    /// A name, number or duration. `.`-joined quoted parts are part of it: `span."my key"`.
    Word { text: String, is_key: bool },
    /// A text in quotes.
    Quoted(String),
    /// An operator or bracket.
    Symbol(&'static str),
}

/// The pieces of a query.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Mistake> {
    let characters: Vec<char> = text.chars().collect();
    let mut lexer = Lexer {
        characters: &characters,
        at: 0,
    };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.token()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer<'a> {
    characters: &'a [char],
    at: usize,
}

// === impl Lexer ===

impl Lexer<'_> {
    fn token(&mut self) -> Result<Option<Token>, Mistake> {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
        let position = self.at;
        let Some(first) = self.peek() else {
            return Ok(None);
        };
        let lexeme = if matches!(first, '"' | '`') {
            Lexeme::Quoted(self.quoted(first)?)
        } else if let Some(symbol) = self.symbol() {
            self.at += symbol.len();
            Lexeme::Symbol(symbol)
        } else {
            self.word()?
        };
        Ok(Some(Token {
            lexeme,
            position,
            end: self.at,
        }))
    }

    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    /// The longest symbol that is here; all are ASCII.
    fn symbol(&self) -> Option<&'static str> {
        let rest = self.characters.get(self.at..).unwrap_or_default();
        SYMBOLS.into_iter().find(|symbol| {
            symbol
                .chars()
                .enumerate()
                .all(|(at, own)| rest.get(at) == Some(&own))
        })
    }

    /// A text in double quotes, with `\` before what would end it, or in backquotes, as it stands.
    fn quoted(&mut self, quote: char) -> Result<String, Mistake> {
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
        Err(Mistake::at(
            position,
            format!("the quote is not closed: add {quote} at its end"),
        ))
    }

    fn escaped(&mut self, position: usize) -> Result<char, Mistake> {
        let character = self
            .peek()
            .ok_or_else(|| Mistake::at(position, "the quote is not closed: add \" at its end"))?;
        self.at += 1;
        match character {
            'n' => Ok('\n'),
            't' => Ok('\t'),
            'r' => Ok('\r'),
            '"' | '\\' | '\'' => Ok(character),
            other => Err(Mistake::at(
                self.at - 2,
                format!("\\{other} is no escape: write \\\\{other}, or the text in backquotes"),
            )),
        }
    }

    fn word(&mut self) -> Result<Lexeme, Mistake> {
        let mut text = String::new();
        let mut is_key = false;
        while let Some(character) = self.peek() {
            if character == '"' && text.ends_with('.') {
                text.push_str(&self.quoted('"')?);
                is_key = true;
            } else if character.is_whitespace() || ENDS.contains(&character) {
                break;
            } else {
                text.push(character);
                self.at += 1;
            }
        }
        Ok(Lexeme::Word { text, is_key })
    }
}

// === impl Token ===

impl Token {
    /// It stands where something else must.
    pub(super) fn unexpected(&self, wanted: &str) -> Mistake {
        Mistake::at(
            self.position,
            format!("{} stands where {wanted} is expected", self.shown()),
        )
    }

    pub(super) fn shown(&self) -> String {
        match &self.lexeme {
            Lexeme::Word { text, .. } => format!("`{text}`"),
            Lexeme::Quoted(text) => format!("{text:?}"),
            Lexeme::Symbol(symbol) => format!("`{symbol}`"),
        }
    }
}

/// Longer ones first.
const SYMBOLS: [&str; 29] = [
    "&>>", "&<<", "!>>", "!<<", "&>", "&<", "&~", "!~", "=~", "!=", ">=", "<=", ">>", "<<", "&&",
    "||", "{", "}", "(", ")", "=", "!", ">", "<", "|", "~", ",", "&", ";",
];

/// What ends a word.
const ENDS: [char; 14] = [
    '{', '}', '(', ')', '=', '!', '>', '<', '|', '&', '~', ',', '"', '`',
];
