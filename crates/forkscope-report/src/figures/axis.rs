//! Mapping from values to the page, and where the ticks go.

/// One axis: a range of values on a range of the page.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    log: bool,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// Equal steps for equal differences.
    pub fn linear(values: (f64, f64), page: (f64, f64)) -> Self {
        let high = if values.1 > values.0 {
            values.1
        } else {
            values.0 + 1.0
        };
        Self {
            log: false,
            low: values.0,
            high,
            from: page.0,
            to: page.1,
        }
    }

    /// Equal steps for equal ratios, over whole decades that hold the values.
    pub fn decades(values: (f64, f64), page: (f64, f64)) -> Self {
        let low = floor_decade(values.0);
        let high = ceil_decade(values.1).max(low + 1.0);
        Self {
            log: true,
            low,
            high,
            from: page.0,
            to: page.1,
        }
    }

    /// Equal steps for equal ratios between two positive values.
    pub fn ratios(values: (f64, f64), page: (f64, f64)) -> Self {
        let (low, high) = (values.0.log10(), values.1.log10());
        Self {
            log: true,
            low,
            high: high.max(low + 1e-9),
            from: page.0,
            to: page.1,
        }
    }

    /// Where a value lies on the page; values outside lie at the nearer end.
    pub fn at(&self, value: f64) -> f64 {
        let v = if self.log {
            value.max(f64::MIN_POSITIVE).log10()
        } else {
            value
        };
        let share = ((v - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.from + share * (self.to - self.from)
    }

    /// Whether the axis can show the value where it belongs.
    pub fn holds(&self, value: f64) -> bool {
        let v = if self.log { value.log10() } else { value };
        v.is_finite() && v >= self.low - 1e-9 && v <= self.high + 1e-9
    }

    /// Decades of a logarithmic axis, round steps of a linear one.
    pub fn ticks(&self) -> Vec<f64> {
        if self.log {
            let (low, high) = (self.low.ceil() as i32, self.high.floor() as i32);
            return (low..=high).map(|e| 10f64.powi(e)).collect();
        }
        let step = round_step((self.high - self.low) / 5.0);
        let first = (self.low / step).ceil();
        (0..=8)
            .map(|i| (first + f64::from(i)) * step)
            .take_while(|v| *v <= self.high + step * 1e-6)
            .collect()
    }
}

fn floor_decade(v: f64) -> f64 {
    if v > 0.0 && v.is_finite() {
        v.log10().floor().max(-12.0)
    } else {
        -6.0
    }
}

fn ceil_decade(v: f64) -> f64 {
    if v > 0.0 && v.is_finite() {
        v.log10().ceil().min(12.0)
    } else {
        0.0
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is not below `raw`.
fn round_step(raw: f64) -> f64 {
    let raw = if raw > 0.0 && raw.is_finite() {
        raw
    } else {
        1.0
    };
    let decade = 10f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|f| f * decade >= raw * 0.999)
        .unwrap_or(10.0);
    factor * decade
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_map_ends_to_ends() {
        let axis = Axis::linear((0.0, 1.0), (10.0, 110.0));
        assert_eq!(
            (axis.at(0.0), axis.at(0.5), axis.at(1.0)),
            (10.0, 60.0, 110.0)
        );
        assert_eq!(axis.ticks().len(), 6);
        let axis = Axis::decades((0.002, 0.3), (0.0, 300.0));
        assert_eq!((axis.at(0.001), axis.at(1.0)), (0.0, 300.0));
        assert_eq!(axis.ticks().len(), 4);
        assert!(!axis.holds(0.0) && axis.holds(0.5));
    }

    #[test]
    fn degenerate_ranges_still_draw() {
        assert!(Axis::linear((3.0, 3.0), (0.0, 1.0)).at(3.0).is_finite());
        assert!(Axis::decades((0.0, 0.0), (0.0, 1.0)).at(0.0).is_finite());
    }
}
