//! A birth-death chain over the number of lost shards of one segment.

use datamesh_core::Scheme;

/// Probability that a segment is lost in a year: each of its shards is lost `losses` times a year,
/// and what is missing is repaired one by one, `repairs` times a year.
///
/// From the expected time to absorption: with E_i the time from i lost shards,
/// E_i = 1/(f_i + r_i) + f_i/(f_i + r_i) · E_(i+1) + r_i/(f_i + r_i) · E_(i−1), where f_i = (n − i) ·
/// losses and r_i = repairs for i > 0. D_i = E_i − E_(i+1) obeys D_i = (1 + r_i · D_(i−1)) / f_i, which
/// has no cancellation, and E_0 = ΣD_i.
pub(super) fn yearly_loss(scheme: Scheme, losses: f64, repairs: f64) -> f64 {
    let mut step = 0.0;
    let mut years = 0.0;
    for lost in 0..=scheme.m() {
        let failing = (scheme.n() - lost) as f64 * losses;
        let repairing = if lost == 0 { 0.0 } else { repairs };
        step = (1.0 + repairing * step) / failing;
        years += step;
    }
    -(-1.0 / years).exp_m1()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_designs_figures_come_out() {
        let nines = |scheme| -yearly_loss(scheme, 1.0, 365.25).log10();
        for (scheme, expected) in
            [(Scheme::FOUR_TWO, 3.1), (Scheme::EIGHT_FOUR, 5.3), (Scheme::SIXTEEN_EIGHT, 9.0)]
        {
            let found = nines(scheme);
            assert!((found - expected).abs() < 0.25, "{scheme}: {found}");
        }
    }

    #[test]
    fn without_repair_a_segment_dies_when_its_shards_do() {
        // Expected time until 3 of 6 shards are lost at rate 1: 1/6 + 1/5 + 1/4.
        let years = 1.0 / 6.0 + 1.0 / 5.0 + 1.0 / 4.0;
        let expected = -(-1.0f64 / years).exp_m1();
        assert!((yearly_loss(Scheme::FOUR_TWO, 1.0, 0.0) - expected).abs() < 1e-12);
    }
}
