"""The gates that programs may call without defining them: qelib1, stdgates, Braket, the builder.

Names are known in every version and dialect; a program's own definition of a name comes first.
"""

from __future__ import annotations

from ..circuits import GATES

#: Name in a program -> name of the gate table, same angles and qubits.
NAMES = {
    **{name: name for name in GATES},
    **{"sdg": "si", "tdg": "ti", "CX": "cx", "cnot": "cx", "U": "u3", "u": "u3", "v": "sx"},
    **{"vi": "sxdg", "sxi": "sxdg", "phase": "p", "phaseshift": "p", "cu1": "cp"},
    **{"cphase": "cp", "cphaseshift": "cp", "ccnot": "ccx", "toffoli": "ccx", "fredkin": "cswap"},
    **{"xx": "rxx", "yy": "ryy", "zz": "rzz"},
}

#: Gates that do nothing: name -> number of angles.
IDLE = {"id": 0, "i": 0, "u0": 1}

# The bodies are ours, held against the matrices of Qiskit and Braket in the tests. Phases count,
# since a control may stand before any of them.
LIBRARY = """
gate cu(theta, phi, lam, gamma) c, t { p(gamma) c; cu3(theta, phi, lam) c, t; }
gate cs a, b { cp(pi/2) a, b; }
gate csdg a, b { cp(-pi/2) a, b; }
gate csx a, b { ctrl @ sx a, b; }
gate csxdg a, b { ctrl @ sxdg a, b; }
gate cv a, b { ctrl @ sx a, b; }
gate ccz a, b, c { h c; ccx a, b, c; h c; }
gate c3x a, b, c, d { ctrl(3) @ x a, b, c, d; }
gate c4x a, b, c, d, e { ctrl(4) @ x a, b, c, d, e; }
gate c3sx a, b, c, d { ctrl(3) @ sx a, b, c, d; }
gate c3sqrtx a, b, c, d { ctrl(3) @ sx a, b, c, d; }
gate rccx a, b, c { u2(0, pi) c; u1(pi/4) c; cx b, c; u1(-pi/4) c; cx a, c; u1(pi/4) c; cx b, c;
  u1(-pi/4) c; u2(0, pi) c; }
gate rc3x a, b, c, d { u2(0, pi) d; u1(pi/4) d; cx c, d; u1(-pi/4) d; u2(0, pi) d; cx a, d;
  u1(pi/4) d; cx b, d; u1(-pi/4) d; cx a, d; u1(pi/4) d; cx b, d; u1(-pi/4) d; u2(0, pi) d;
  u1(pi/4) d; cx c, d; u1(-pi/4) d; u2(0, pi) d; }
gate rcccx a, b, c, d { rc3x a, b, c, d; }
gate dcx a, b { cx a, b; cx b, a; }
gate ecr a, b { rzx(pi/4) a, b; x a; rzx(-pi/4) a, b; }
gate rzx(theta) a, b { h b; rzz(theta) a, b; h b; }
gate r(theta, phi) a { rz(-phi) a; rx(theta) a; rz(phi) a; }
gate prx(theta, phi) a { r(theta, phi) a; }
gate xx_plus_yy(theta, beta) a, b { rz(beta) a; rxx(theta/2) a, b; ryy(theta/2) a, b; rz(-beta) a; }
gate xx_minus_yy(theta, beta) a, b { rz(-beta) b; rxx(theta/2) a, b; ryy(-theta/2) a, b;
  rz(beta) b; }
gate xy(theta) a, b { rxx(-theta/2) a, b; ryy(-theta/2) a, b; }
gate pswap(theta) a, b { swap a, b; x a; cp(theta) a, b; x a; x b; cp(theta) a, b; x b; }
gate cphaseshift00(theta) a, b { x a; x b; cp(theta) a, b; x a; x b; }
gate cphaseshift01(theta) a, b { x a; cp(theta) a, b; x a; }
gate cphaseshift10(theta) a, b { x b; cp(theta) a, b; x b; }
gate gpi(phi) a { rz(-phi) a; x a; rz(phi) a; }
gate gpi2(phi) a { rz(-phi) a; rx(pi/2) a; rz(phi) a; }
gate ms(phi0, phi1, theta) a, b { rz(-phi0) a; rz(-phi1) b; rxx(theta) a, b; rz(phi0) a;
  rz(phi1) b; }
gate sydg a { inv @ sy a; }
gate iswapdg a, b { inv @ iswap a, b; }
gate iswap_inv a, b { inv @ iswap a, b; }
"""
