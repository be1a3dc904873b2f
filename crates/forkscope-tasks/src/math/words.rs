//! Words and macros that mean something in an answer.

/// Macros that only lay out, or that wrap what stands in braces after them
/// without changing it.
pub(crate) const LAYOUT: &[&str] = &[
    "left",
    "right",
    "middle",
    "displaystyle",
    "textstyle",
    "scriptstyle",
    "limits",
    "nolimits",
    "big",
    "Big",
    "bigg",
    "Bigg",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    "biggl",
    "biggr",
    "Biggl",
    "Biggr",
    "mathbf",
    "boldsymbol",
    "bm",
    "mathit",
    "mathsf",
    "mathcal",
    "mathfrak",
    "mathscr",
    "mathnormal",
    "boxed",
    "fbox",
    "framebox",
    "rm",
    "bf",
    "it",
    "pmb",
    "ensuremath",
    "underline",
    "hline",
    "mathord",
    "mathbin",
    "mathrel",
];

/// Macros whose braces hold words.
pub(crate) const TEXT: &[&str] = &[
    "text",
    "mathrm",
    "textbf",
    "textit",
    "textrm",
    "textsf",
    "texttt",
    "textnormal",
    "mbox",
    "hbox",
    "operatorname",
    "emph",
    "textup",
    "mathop",
];

/// Macros whose argument is dropped.
pub(crate) const DROPPED: &[&str] = &[
    "hspace", "vspace", "phantom", "hphantom", "vphantom", "color", "tag", "label", "mspace",
];

/// Macros that are white space.
pub(crate) const SPACES: &[&str] = &["quad", "qquad", "enspace", "thinspace", "space"];

/// The sign that a macro is.
pub(crate) fn sign(name: &str) -> Option<char> {
    Some(match name {
        "cdot" | "times" | "ast" | "bullet" => '*',
        "div" => '/',
        "pm" => '±',
        "mp" => '∓',
        "le" | "leq" | "leqslant" | "leqq" => '≤',
        "ge" | "geq" | "geqslant" | "geqq" => '≥',
        "lt" => '<',
        "gt" => '>',
        "ne" | "neq" => '≠',
        "approx" | "simeq" | "sim" | "cong" => '≈',
        "equiv" => '≡',
        "infty" => '∞',
        "cup" | "bigcup" => '∪',
        "cap" => '∩',
        "in" => '∈',
        "circ" | "degree" | "degrees" | "textdegree" => '°',
        "langle" => '⟨',
        "rangle" => '⟩',
        "lfloor" => '⌊',
        "rfloor" => '⌋',
        "lceil" => '⌈',
        "rceil" => '⌉',
        "lvert" | "rvert" | "vert" | "mid" => '|',
        "lbrack" => '[',
        "rbrack" => ']',
        "ldots" | "dots" | "cdots" | "dotsc" | "dotsb" => '…',
        "to" | "rightarrow" | "longrightarrow" | "Rightarrow" | "implies" => '→',
        "setminus" | "backslash" => '∖',
        "emptyset" | "varnothing" => '∅',
        "prime" => '\'',
        "angle" | "measuredangle" => '∠',
        "triangle" => '△',
        "colon" => ':',
        "cent" => '¢',
        "pounds" | "textsterling" => '£',
        "euro" | "texteuro" => '€',
        _ => return None,
    })
}

/// The Greek letter (or letter-like sign) that a macro is.
pub(crate) fn letter(name: &str) -> Option<char> {
    Some(match name {
        "pi" => 'π',
        "alpha" => 'α',
        "beta" => 'β',
        "gamma" => 'γ',
        "delta" => 'δ',
        "epsilon" | "varepsilon" => 'ε',
        "zeta" => 'ζ',
        "eta" => 'η',
        "theta" | "vartheta" => 'θ',
        "iota" => 'ι',
        "kappa" => 'κ',
        "lambda" => 'λ',
        "mu" => 'μ',
        "nu" => 'ν',
        "xi" => 'ξ',
        "rho" | "varrho" => 'ρ',
        "sigma" | "varsigma" => 'σ',
        "tau" => 'τ',
        "upsilon" => 'υ',
        "phi" | "varphi" => 'φ',
        "chi" => 'χ',
        "psi" => 'ψ',
        "omega" => 'ω',
        "Gamma" => 'Γ',
        "Delta" => 'Δ',
        "Theta" => 'Θ',
        "Lambda" => 'Λ',
        "Xi" => 'Ξ',
        "Pi" => 'Π',
        "Sigma" => 'Σ',
        "Phi" => 'Φ',
        "Psi" => 'Ψ',
        "Omega" => 'Ω',
        "ell" => 'ℓ',
        "hbar" => 'ħ',
        "imath" => 'i',
        "jmath" => 'j',
        "partial" => '∂',
        _ => return None,
    })
}

/// Functions of one argument, by all their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Arcsin,
    Arccos,
    Arctan,
    Sinh,
    Cosh,
    Tanh,
    Exp,
    Ln,
    /// Without a base: the natural one or ten.
    Log,
    Abs,
    Floor,
    Ceiling,
    Factorial,
    Sqrt,
}

/// The function that a word names.
pub(crate) fn function(name: &str) -> Option<Function> {
    use Function::{
        Abs, Arccos, Arcsin, Arctan, Ceiling, Cos, Cosh, Cot, Csc, Exp, Floor, Ln, Log, Sec, Sin,
        Sinh, Sqrt, Tan, Tanh,
    };
    Some(match name {
        "sin" => Sin,
        "cos" => Cos,
        "tan" => Tan,
        "cot" => Cot,
        "sec" => Sec,
        "csc" => Csc,
        "arcsin" | "asin" => Arcsin,
        "arccos" | "acos" => Arccos,
        "arctan" | "atan" => Arctan,
        "sinh" => Sinh,
        "cosh" => Cosh,
        "tanh" => Tanh,
        "exp" => Exp,
        "ln" => Ln,
        "log" | "lg" => Log,
        "abs" => Abs,
        "floor" => Floor,
        "ceil" => Ceiling,
        "sqrt" => Sqrt,
        _ => return None,
    })
}

/// Two and three letters that are words, not products of variables.
const SHORT_WORDS: &[&str] = &[
    "no", "on", "of", "or", "so", "to", "in", "is", "if", "an", "at", "as", "by", "do", "go", "he",
    "we", "up", "am", "pm", "yes", "not", "odd", "and", "all", "any", "one", "two", "six", "ten",
    "the", "for", "day", "cm", "mm", "km", "kg", "mg", "ft", "sq", "min", "sec", "hr", "lb", "lbs",
    "oz", "mph", "red", "men", "cat", "dog", "cup", "mod", "gcd", "lcm", "max", "det", "inf", "oo",
    "pi", "mon", "tue", "wed", "thu", "fri", "sat", "sun", "jan", "feb", "mar", "apr", "may",
    "jun", "jul", "aug", "sep", "oct", "nov", "dec", "non", "nor", "now", "own",
];

/// Whether a run of letters is a product of variables (`xy`) and not a word.
/// Longer runs are products only in the order of the alphabet (`abcd`).
pub(crate) fn is_product(run: &str) -> bool {
    let lower = run.to_ascii_lowercase();
    if function(&lower).is_some() || SHORT_WORDS.contains(&lower.as_str()) {
        return false;
    }
    let ascending = || {
        run.as_bytes()
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a < b))
    };
    run.len() <= 3 || ascending()
}
