//! Forward KL of a teacher and a student over the whole vocabulary.
//!
//! KL(t||s) = sum t ln(t/s), summed as sum t g(x) with x = ln t - ln s and
//! g(x) = e^-x - 1 + x >= 0, so that no term is negative in floating point
//! (t = 0 contributes s); d KL / d z_student = s - t, taken as t (e^-x - 1)
//! where the two are close. One polynomial serves both: with y = -x,
//! e^y - 1 - y = y^2 h(y), h(y) = 1/2 + y/6 + y^2/24 + ... for |y| < 1.

use forkscope_policy::ops::LANES;
use forkscope_policy::ops::exp::exp;
use forkscope_policy::vectorised;

use super::{CHUNK, Normaliser, normaliser, tree};

/// What a distillation loss found at one site.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Divergence {
    /// KL(teacher || student), or its bucketed lower bound, nats; +inf where
    /// the student masks a token that the teacher allows.
    pub kl: f64,
    /// H of the teacher, nats: of the whole distribution, or of its buckets.
    pub teacher_entropy: f64,
    /// H of the student, nats.
    pub student_entropy: f64,
    /// Whether both have the same argmax (of a tie: the lowest id).
    pub agree: bool,
}

/// student <- w (s - t), the gradient of w KL(t || s) with respect to the
/// student's logits. Where the rows differ in length (padding of the
/// vocabulary), the teacher's ids beyond the student's are left out and the
/// rest renormalised; it gives no mass to ids that it lacks.
pub fn kl_teacher_student(student: &mut [f32], teacher: &[f32], w: f64) -> Divergence {
    let shared = student.len().min(teacher.len());
    let (teacher, _) = teacher.split_at(shared);
    let (of_teacher, of_student) = (normaliser(teacher), normaliser(student));
    let agree = of_teacher.argmax(teacher) == of_student.argmax(student);
    let shift = of_teacher.ln_z() - of_student.ln_z();
    let level = Level {
        teacher: Side::of(&of_teacher),
        student: Side::of(&of_student),
        shift: shift as f32,
        rest: (shift - f64::from(shift as f32)) as f32,
        weight: w as f32,
    };
    let mut kl = 0.0;
    let (both, beyond) = student.split_at_mut(shared);
    divergence(teacher, both, &level, &mut kl);
    for z in beyond {
        let s = exp(*z - level.student.max) * level.student.scale;
        kl += f64::from(s);
        *z = level.weight * s;
    }
    Divergence {
        kl: if shift.is_finite() { kl } else { f64::NAN },
        teacher_entropy: of_teacher.entropy,
        student_entropy: of_student.entropy,
        agree,
    }
}

/// p = e^(z - max) scale.
#[derive(Debug, Clone, Copy)]
struct Side {
    max: f32,
    scale: f32,
}

impl Side {
    fn of(normaliser: &Normaliser) -> Self {
        Self {
            max: normaliser.max,
            scale: normaliser.scale() as f32,
        }
    }
}

/// ln t - ln s = (z_t - z_s) - shift - rest.
#[derive(Debug, Clone, Copy)]
struct Level {
    teacher: Side,
    student: Side,
    shift: f32,
    rest: f32,
    weight: f32,
}

/// t g(x), and s - t.
#[inline(always)]
fn terms(t: f32, s: f32, y: f32) -> (f32, f32) {
    let near = y.abs() < 1.0;
    let v = if near { y } else { 0.0 };
    let mut h = v.mul_add(1.0 / 3_628_800.0, 1.0 / 362_880.0);
    h = h.mul_add(v, 1.0 / 40_320.0);
    h = h.mul_add(v, 1.0 / 5_040.0);
    h = h.mul_add(v, 1.0 / 720.0);
    h = h.mul_add(v, 1.0 / 120.0);
    h = h.mul_add(v, 1.0 / 24.0);
    h = h.mul_add(v, 1.0 / 6.0);
    h = h.mul_add(v, 0.5);
    let beyond_linear = v * v * h;
    let difference = s - t;
    let far = if t > 0.0 { difference - t * y } else { s };
    (
        if near { t * beyond_linear } else { far },
        if near {
            t * (v + beyond_linear)
        } else {
            difference
        },
    )
}

#[inline(always)]
fn token(teacher: f32, student: &mut f32, level: &Level) -> f32 {
    let t = exp(teacher - level.teacher.max) * level.teacher.scale;
    let s = exp(*student - level.student.max) * level.student.scale;
    let y = level.rest + (level.shift - (teacher - *student));
    let (term, difference) = terms(t, s, y);
    *student = level.weight * difference;
    term
}

vectorised! {
    fn divergence(teacher: &[f32], student: &mut [f32], level: &Level, kl: &mut f64) {
        for (teacher, student) in teacher.chunks(CHUNK).zip(student.chunks_mut(CHUNK)) {
            let mut lanes = [0.0f32; LANES];
            let (t, t_rest) = teacher.as_chunks::<LANES>();
            let (s, s_rest) = student.as_chunks_mut::<LANES>();
            for (t, s) in t.iter().zip(s) {
                for i in 0..LANES {
                    lanes[i] += token(t[i], &mut s[i], level);
                }
            }
            for (i, (t, s)) in t_rest.iter().zip(s_rest).enumerate() {
                lanes[i] += token(*t, s, level);
            }
            *kl += tree(&lanes);
        }
    }
}
