"""Every tolerance of the tests, with its reason. A test that needs another one adds it here."""

#: Amplitudes and probabilities of circuits of up to some 200 gates: rounding grows with the square
#: root of their number, 6e-8·√200 ≈ 8e-7 in single precision and 1.1e-16·√200 ≈ 2e-15 in double.
AMPLITUDE = {"complex64": 2e-6, "complex128": 1e-13}

#: Sum of all probabilities: up to 2**6 of them, each as exact as an amplitude, errors in one
#: direction as the norm drifts.
TOTAL = {"complex64": 5e-6, "complex128": 1e-12}

#: The same probabilities read in slices: the same numbers come from sums in another order.
SLICE = {"complex64": 1e-6, "complex128": 1e-14}

#: Step of central differences in double precision: the error of the formula, step² · f‴/6, and
#: the rounding, 1e-16/step, are both below 1e-10 for functions of order 1.
STEP = 1e-5

#: Gradient against central differences with this step: ten times the worst of the two errors,
#: for gradients of up to 10.
FINITE_DIFFERENCE = 1e-8

#: Shift rules on exact probabilities against autograd, in double precision: rounding only.
SHIFT_RULE = 1e-10

#: Gradient in single against double precision: rounding of a forward and a backward pass.
SINGLE_GRADIENT = 1e-5

#: Weights of order 1 after a small network in single precision, sums in another order.
SINGLE = 2e-6

#: The same in double precision.
DOUBLE = 1e-13

#: Pauli correlators in double precision against dense operators: sums of 2**N products of
#: amplitudes, each as exact as these.
CORRELATOR = 1e-12

#: Integrals of scipy.integrate.quad against constants written with six decimals.
SIX_DECIMALS = 1e-6

#: p value below which a chi-square test fails. Seeds are fixed, so a test passes always or never.
P_VALUE = 1e-3

#: Largest of up to 30 standardized means: beyond it with probability 30 · 2e-5. Seeds are fixed.
Z_VALUE = 4.3

#: Parameters seeded with Philox and rounded to float32, against literals of nine digits.
LITERAL = 1e-9

#: The same for Braket's local simulator, whose shots cannot be seeded: never by chance.
UNSEEDED_P_VALUE = 1e-9

#: Losses of 56 steps in double precision, whose batches are summed in parts: rounding of 1e-15,
#: which AdamW divides by gradients as small as its epsilon, 1e-8; 3e-7 was seen. A batch's weight
#: that is wrong shows at 1e-2.
PROCESSES = 1e-5

#: Readings of a matrix product state in double precision against quimb's own operators on the same
#: tensors, or against the state vector: sums of up to some hundred products, each exact to 1e-16.
EXCHANGED = 1e-12

#: Amplitudes and expectations of contracted networks in double precision against other exact
#: engines: 1.1e-16·√250 ≈ 2e-15 for up to some 250 gates, and sums in another order.
CONTRACTED = 1e-14

#: Factors of small matrices of order 1 in double precision, multiplied with each other again.
FACTORS = 1e-12

#: Gradients of order 1 in double precision by two exact paths: rounding of sums in another order.
DOUBLE_GRADIENT = 1e-12

#: Losses of a few training steps in single precision, relative: the same operations, whose sums are
#: in another order.
SINGLE_LOSS = 1e-6

#: Angles read from decimal text and combined in a few operations, in double precision: some units
#: of the last digit of numbers of order 1.
DECIMAL_ANGLE = 1e-15

#: Unitaries, amplitudes and probabilities in double precision against another program, or of
#: another text of the same circuit: products of at most some hundred matrices.
MATRICES = 1e-12

#: The same after a way through another package's text: angles of Cirq's text have ten digits of a
#: half turn (wrong by at most 8e-11); those of all others have at least 15.
WRITTEN = 1e-10

#: Standard deviations of 400 draws against the true ones, relative, the largest of 45: their own
#: deviation is 1/√800 = 3.5 %, and 5 of those are 18 %.
SPREAD_OF_400 = 0.18

#: Standard errors by 100,000 counts against the true ones, relative: a correlator c is known to
#: 0.003, which changes √(1 − c²) by 0.003·c/(1 − c²), 3 % at |c| = 0.95.
ERROR_OF_100_000_SHOTS = 0.03
