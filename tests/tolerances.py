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

#: A loss over a test set, or after an epoch, in single precision by two paths, relative: sums of up
#: to some hundred numbers in another order, through weights that differ in the last digits.
TEST_LOSS = 1e-5

#: Outputs of small networks in single precision by two paths, absolute and relative: as above.
OUTPUT = 1e-5

#: Outputs and gradients of small networks in single against double precision, or summed in another
#: order through squares of outputs of order 10: absolute and relative.
NETWORK_GRADIENT = 1e-4

#: Derivatives of weights in single precision by two batched paths: absolute for the small ones, and
#: relative.
JACOBIAN = {"atol": 2e-4, "rtol": 1e-3}

#: Weights of two trainings in single precision, of some epochs: what rounding grows to; another
#: seed or order of batches shows at 0.1.
TRAINED = 1e-3

#: Differences of float32 parameters of order 1 after one step, relative to that step of 1e-3.
STEP_IN_SINGLE = 1e-2

#: Trained numbers after an epoch at the learning rate 1e-9, of order 1: 10 steps of 1e-9 each.
HARDLY_MOVED = 1e-6

#: What has another seed or other weights differs by more than this.
DIFFERENT = 1e-2

#: Norm and correlations of chains of up to 1,000 tensors in single precision: 1,000 · 6e-8.
LONG_CHAIN = 1e-4

#: Entropies, distances and fidelities in double precision by two paths: −p·log p of the smallest
#: squared singular values, exact to 1e-16, is exact to 1e-14; the rest are sums.
ENTROPY = 1e-9

#: Entropies and negativities that quimb computes from eigenvalues of a density matrix, whose
#: smallest ones are wrong by 1e-16: square roots of them by 1e-8, 16 of them by less than this.
EIGENVALUES = 1e-6

#: Derivatives of factorizations of small matrices of order 1 against central differences with a
#: step of 1e-6, in double precision: rounding of 1e-10, over gaps of singular values of 1e-3.
FACTOR_SLOPE = 1e-6

#: Numbers of a table that is rounded to two decimals.
TWO_DECIMALS = 0.01

#: Features of a data set, of up to 10, kept in float32.
FLOAT32_DATA = 1e-6

#: A fidelity estimate against a density matrix (the issue asks for 0.1; the largest seen is 0.05).
FIDELITY = 0.06

#: Fidelities of a device list, written with five decimals.
FIVE_DECIMALS = 1e-5

#: Accuracy on 30 test samples by 2,000 shots against exact weights: 6 samples.
SHOTS_ON_IRIS = 0.2

#: An accuracy that is stored against one computed again: less than one sample of a test set.
SAME_ACCURACY = 1e-3

#: A formula of second order: half the step gives a quarter of the error, up to the next order.
SECOND_ORDER = 0.2

#: The geometric mean of a logarithmic scale by the median of 400 draws: within a factor of 1.5.
MEDIAN_OF_LOGARITHMS = 0.5

#: Sampling error falls with the square root of the shots; one run each, so a factor of ten is
#: allowed in one direction and of two in the other.
ROOT_OF_SHOTS = 0.9

#: Constants of generators, written with three digits, against integrals on a grid.
THREE_DIGITS = 0.005

#: The same derivative at another bond: what 32 in place of 8 changes at 18 qubits and 5 layers.
TRUNCATED_GRADIENT = 0.05

#: Estimates of a linear law put in with its deviation, from some hundred draws.
LAW_PUT_IN = 0.02

#: Amplitudes of many qubits, whose size is 2^(−N/2) or less, by two contractions in double
#: precision, relative: their sums lose some digits where terms cancel.
SLICED = 1e-8

#: An inverse of a matrix of rank 3 of 4 by two rules, in double precision.
INVERSE = 1e-10

#: Weights of discarded singular values of 1e-5 and 1e-9 beside 1, relative: 1e-16 of the norm.
DISCARDED = 1e-6

#: Losses of 50 steps of Adam in single precision on two engines: each step's rounding is in all
#: later ones. 5e-6 was seen; a wrong gradient shows at the second step.
LOSSES_OF_50_STEPS = 1e-3

#: Schmidt values, and entropies of them, in double precision: square roots of eigenvalues that are
#: exact to 1e-16.
SCHMIDT = 1e-8

#: A ratio of times, written with two decimals.
RATIO = 0.006

#: Derivatives along a direction in single precision against central differences in double.
SLOPE_IN_SINGLE = {"rel": 1e-3, "abs": 1e-5}

#: Weights of 9 and 0 after a short training that begins there.
NEAR_THE_START = 2.0

#: Entries of one gate's matrix in double precision: a few products of sines and cosines.
GATE = 1e-15

#: Gradients of 10¹² shots against exact ones, relative: √256 outcomes, each to 1e-6, and slopes
#: of order 10.
MANY_SHOTS = 1e-3

#: Derivatives by central differences in single precision, turned into other coordinates: products
#: of some hundred columns, absolute for norms of order 1, and relative.
COORDINATES = 1e-2

#: Weights of order 1 of many models at once, as one batched program: rounding in single precision,
#: through features that enlarge it.
MANY_AT_ONCE = 2e-4

#: Gradient of a squared gradient, of order 10, against differences of gradients.
PENALTY = 1e-7

#: A gradient of order 1 in double precision by the same operations.
SAME_GRADIENT = 1e-14

#: Frequencies of up to 1,000 shots, multiplied with their number again.
COUNTS = 1e-9

#: A share of the weights of one layer that are largest, of 80 weights and a quarter of them.
SHARE_OF_A_LAYER = 0.08

#: A ratio of two numbers that are stored with three digits.
THREE_STORED_DIGITS = 0.02


def of_draws(number: int, deviation: float = 1.0) -> float:
    """Five standard errors of the mean of so many independent draws: by chance once in 10⁶.

    Args:
        number: How many draws.
        deviation: The standard deviation of one draw.

    Returns:
        The tolerance, absolute.

    Example:
        >>> of_draws(400)
        0.25
    """
    return 5 * deviation / number**0.5
