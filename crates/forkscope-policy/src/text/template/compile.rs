//! Source -> instructions that cannot run away.
//!
//! minijinja bounds instructions and recursion. What one instruction may cost
//! it does not bound: `s ~ s` in a loop doubles a string, `[x, x]` a tree. So
//! the operators and literals that make or traverse values are replaced, one
//! for one, by calls of the counted operators in [`super::ops`]. An instruction
//! that is not known to be cheap is refused.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use minijinja::machinery::{CompiledTemplate, Instruction, TemplateConfig, Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Error};
use regex::Regex;

use super::bounds::{MAX_EXPRESSION_TOKENS, MAX_FOLDED, MAX_FUEL, MAX_RAW, MAX_SOURCE, refuse};

/// `{% generation %}` marks the assistant's turn for training masks; rendering
/// passes through it.
static GENERATION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").ok());

/// A template ready to run, with the instructions it may use.
pub(super) struct Bounded<'s> {
    pub(super) template: CompiledTemplate<'s>,
    pub(super) fuel: u64,
}

/// The source without `generation` tags, their whitespace control kept.
pub(super) fn without_generation_tags(source: &str) -> Cow<'_, str> {
    let Some(pattern) = GENERATION.as_ref() else {
        return Cow::Borrowed(source);
    };
    pattern.replace_all(source, |found: &regex::Captures| {
        let word = if found.get(2).is_some() {
            "endif"
        } else {
            "if true"
        };
        let part = |i| found.get(i).map_or("", |m| m.as_str());
        format!("{{%{} {word} {}%}}", part(1), part(3))
    })
}

/// Compiles a source whose `generation` tags are gone.
pub(super) fn compile(source: &str) -> Result<Bounded<'_>, Error> {
    if source.len() > MAX_SOURCE {
        return Err(refuse(format!(
            "the template has {} bytes, more than {MAX_SOURCE}",
            source.len()
        )));
    }
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    check_expressions(source, &syntax)?;
    let config = TemplateConfig {
        syntax_config: syntax,
        default_auto_escape: Arc::new(|_| AutoEscape::None),
    };
    let mut template = CompiledTemplate::new("chat_template", source, &config)?;
    if !template.blocks.is_empty() {
        return Err(unsupported("block"));
    }
    let mut longest = 1;
    for at in 0.. {
        let Some(instruction) = template.instructions.get_mut(at) else {
            break;
        };
        if let Instruction::EmitRaw(text) = instruction {
            longest = longest.max(text.len() as u64);
        }
        bound(instruction)?;
    }
    Ok(Bounded {
        template,
        fuel: MAX_FUEL.min(MAX_RAW / longest),
    })
}

/// Constant expressions are folded while compiling, and chains of operators
/// are walked recursively: both are bounded here, before.
fn check_expressions(source: &str, syntax: &SyntaxConfig) -> Result<(), Error> {
    let mut expression = Expression::default();
    for token in tokenize(source, false, syntax.clone()) {
        match token?.0 {
            Token::VariableStart | Token::BlockStart => expression = Expression::default(),
            Token::VariableEnd | Token::BlockEnd => expression.check()?,
            token => expression.add(&token)?,
        }
    }
    Ok(())
}

/// What the constants of an expression could fold into at worst.
#[derive(Default)]
struct Expression {
    tokens: usize,
    repeats: bool,
    powers: bool,
    /// ln of the product of (|number| + 1), and 1/|number| for fractions.
    ln_numbers: f64,
    bytes: usize,
}

impl Expression {
    fn add(&mut self, token: &Token) -> Result<(), Error> {
        self.tokens += 1;
        if self.tokens > MAX_EXPRESSION_TOKENS {
            return Err(refuse(format!(
                "an expression has more than {MAX_EXPRESSION_TOKENS} parts"
            )));
        }
        match token {
            Token::Mul => self.repeats = true,
            Token::Pow => self.powers = true,
            Token::Int(n) => self.ln_numbers += (*n as f64).ln_1p(),
            Token::Int128(n) => self.ln_numbers += (**n as f64).ln_1p(),
            Token::Float(x) => self.ln_numbers += x.abs().max(1.0 / x.abs()).ln_1p(),
            Token::Str(text) => self.bytes += text.len(),
            Token::String(text) => self.bytes += text.len(),
            Token::BracketOpen | Token::ParenOpen => self.bytes += 1,
            _ => {}
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        let folded = self.ln_numbers.exp() * self.bytes as f64;
        if self.repeats && self.bytes > 0 && (self.powers || folded.is_nan() || folded > MAX_FOLDED)
        {
            return Err(refuse("an expression repeats a constant too often"));
        }
        Ok(())
    }
}

/// Name of a counted operator. A template cannot spell it.
macro_rules! counted {
    ($name:literal, $args:expr) => {
        Instruction::ApplyFilter(concat!("=", $name), $args, !0)
    };
}

fn bound(instruction: &mut Instruction<'_>) -> Result<(), Error> {
    use Instruction as I;
    let counted = match instruction {
        I::Add => counted!("add", Some(2)),
        I::Mul => counted!("mul", Some(2)),
        I::StringConcat => counted!("concat", Some(2)),
        I::Eq => counted!("eq", Some(2)),
        I::Ne => counted!("ne", Some(2)),
        I::Lt => counted!("lt", Some(2)),
        I::Lte => counted!("lte", Some(2)),
        I::Gt => counted!("gt", Some(2)),
        I::Gte => counted!("gte", Some(2)),
        I::In => counted!("in", Some(2)),
        I::GetItem => counted!("item", Some(2)),
        I::Slice => counted!("slice", Some(4)),
        I::BuildList(None) => counted!("list", None),
        I::BuildList(Some(n)) => counted!("list", Some(arity(*n)?)),
        I::BuildTuple(None) => counted!("tuple", None),
        I::BuildTuple(Some(n)) => counted!("tuple", Some(arity(*n)?)),
        I::BuildMap(pairs) => counted!("map", Some(arity(pairs.saturating_mul(2))?)),
        // Cheap, or counted by the functions that they call.
        I::EmitRaw(_)
        | I::StoreLocal(_)
        | I::Lookup(_)
        | I::GetAttr(_)
        | I::SetAttr(_)
        | I::LoadConst(_)
        | I::BuildKwargs(_)
        | I::UnpackList(_)
        | I::Sub
        | I::Div
        | I::IntDiv
        | I::Rem
        | I::Pow
        | I::Neg
        | I::Not
        | I::ApplyFilter(..)
        | I::PerformTest(..)
        | I::Emit
        | I::PushLoop(_)
        | I::PushWith
        | I::Iterate(_)
        | I::PushDidNotIterate
        | I::PopFrame
        | I::PopLoopFrame
        | I::Jump(_)
        | I::JumpIfFalse(_)
        | I::JumpIfFalseOrPop(_)
        | I::JumpIfTrueOrPop(_)
        | I::BeginCapture(_)
        | I::EndCapture
        | I::CallFunction(..)
        | I::CallMethod(..)
        | I::CallObject(_)
        | I::DupTop
        | I::DiscardTop
        | I::FastRecurse
        | I::Swap
        | I::BuildMacro(..)
        | I::Return
        | I::IsUndefined
        | I::Enclose(_)
        | I::GetClosure => return Ok(()),
        I::CompareAndPreserve(_) => return Err(unsupported("a chained comparison (a < b < c)")),
        I::UnpackLists(_) | I::MergeKwargs(_) => return Err(unsupported("f(*args) or f(**args)")),
        I::PushAutoEscape | I::PopAutoEscape => return Err(unsupported("autoescape")),
        _ => return Err(unsupported("include, import, extends or block")),
    };
    *instruction = counted;
    Ok(())
}

fn arity(n: usize) -> Result<u16, Error> {
    u16::try_from(n).map_err(|_| refuse("a literal has more than 65535 items"))
}

fn unsupported(what: &str) -> Error {
    refuse(format!(
        "{what} has no place in a chat template and is not supported"
    ))
}
