"""Draws a face: a pure function of a person, action-unit intensities and circumstances.

Face coordinates: x to the right, y down, the head about 0.73 wide to each side, the chin near y = 0.9. Each part
moves with its units as the Facial Action Coding System describes them (Ekman and Friesen, 1978).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fer_jax.data.facs_faces import categories
from fer_jax.data.facs_faces.parameters import IDENTITY, NUISANCE, named
from fer_jax.data.facs_faces.shapes import blob, ellipse, ellipse_distance, inside, paint, shade, stroke

VIEW = 0.90  # The picture shows [-VIEW, VIEW] of face coordinates about CENTRE.
CENTRE = 0.10

SKIN_LIGHT, SKIN_DARK = (0.97, 0.83, 0.74), (0.36, 0.23, 0.17)
HAIR = ((0.06, 0.05, 0.05), (0.20, 0.12, 0.08), (0.36, 0.22, 0.12), (0.62, 0.45, 0.24), (0.50, 0.22, 0.10),
        (0.55, 0.54, 0.53))  # fmt: skip
EYES = ((0.25, 0.15, 0.08), (0.38, 0.26, 0.12), (0.25, 0.42, 0.30), (0.28, 0.45, 0.62))
DARK = jnp.asarray((0.10, 0.05, 0.05))


@functools.partial(jax.jit, static_argnames="size")
def render(identity: jax.Array, action_units: jax.Array, nuisance: jax.Array, size: int = 64) -> jax.Array:
    """Renders one face.

    Args:
      identity: f32[I], see `parameters.IDENTITY`.
      action_units: f32[17] in [0, 1], in the order of `categories.UNITS`.
      nuisance: f32[Q], see `parameters.NUISANCE`.
      size: static; pixels of the square picture.

    Returns:
      f32[size, size, 3], RGB in [0, 1].
    """
    person, seen = named(identity, IDENTITY), named(nuisance, NUISANCE)
    au = {unit: action_units[i] for i, unit in enumerate(categories.UNITS)}
    x, y = grid(seen, size)
    pixel = 2 * VIEW / size * seen["softness"]
    skin = _skin(person)
    shadow = skin * jnp.asarray((0.42, 0.34, 0.32))
    jaw = 0.13 * au[26] - 0.03 * au[17]

    image = _background(person, seen, x, y, pixel, skin)
    head, outline = _head(person, x, y, jaw, pixel)
    image = _hair_behind(image, person, x, y, pixel)
    image = _ears(image, person, x, y, skin, shadow, pixel)
    face = _shaded_skin(person, seen, au, x, y, skin, jaw)
    # Turning the head moves what lies in the middle of the face more than its outline.
    x = x + 0.16 * seen["yaw"] * jnp.clip(1 - (x / 0.8) ** 2, 0, 1)
    face = _lines(face, person, au, x, y, shadow, pixel)
    face = _nose(face, person, au, x, y, shadow, pixel)
    face = _eyes(face, person, seen, au, x, y, shadow, pixel)
    face = _brows(face, person, au, x, y, pixel)
    mouth = _mouth(person, au, x, jaw)
    face = _lips(face, mouth, au, x, y, _lip_colour(person, skin), shadow, pixel)
    face = _around_mouth(face, mouth, au, x, y, shadow, pixel)
    face = _chin(face, person, au, x, y, shadow, jaw, pixel)
    face = _beard(face, person, x, y, outline, jaw)
    image = paint(image, face, head)
    image = _glasses(image, person, x, y, pixel)
    image = _hair_front(image, person, x, y, pixel)
    return _picture(image, seen)


def grid(seen: dict[str, jax.Array], size: int) -> tuple[jax.Array, jax.Array]:
    """Returns where the pixels lie in face coordinates, x and y f32[size, size], of a picture's named nuisance."""
    axis = (jnp.arange(size) + 0.5) / size * 2 - 1
    y, x = jnp.meshgrid(axis * VIEW, axis * VIEW, indexing="ij")
    x, y = (x - seen["x"]) / seen["scale"], (y - seen["y"]) / seen["scale"] + CENTRE
    cos, sin = jnp.cos(seen["roll"]), jnp.sin(seen["roll"])
    return cos * x + sin * y, cos * y - sin * x


def _skin(person):
    tone = person["skin"] ** 1.3
    skin = jnp.asarray(SKIN_LIGHT) * (1 - tone) + jnp.asarray(SKIN_DARK) * tone
    return skin + person["skin_red"] * jnp.asarray((0.6, -0.2, -0.5))


def _hair_colour(person):
    return jnp.clip(jnp.asarray(HAIR)[person["hair_colour"].astype(jnp.int32)] + person["hair_light"], 0, 1)


def _hue(hue, light):
    """A muted colour."""
    phase = hue * 2 * jnp.pi + jnp.asarray((0.0, 2.1, 4.2))
    return jnp.clip(light + 0.09 * jnp.cos(phase), 0, 1)


def _background(person, seen, x, y, pixel, skin):
    wall = seen["background_light"] + seen["background_slope"] * y
    image = jnp.clip(_hue(seen["background"], wall[..., None]), 0, 1)
    neck = inside(jnp.abs(x) - 0.36 - 0.1 * jnp.clip(y - 0.85, 0, 1), 2 * pixel) * (y > 0.3)
    image = paint(image, skin * (0.72 + 0.1 * jnp.clip(y - 0.8, 0, 1))[..., None], neck)
    clothes = inside(0.98 + 0.22 * x**2 - 0.1 * jnp.exp(-((x / 0.3) ** 2)) - y, 2 * pixel)
    return paint(image, _hue(person["clothes"], person["clothes_light"]), clothes)


def _head(person, x, y, jaw, pixel):
    """Coverage of the head, and its outline: how far out a point lies, 1 at the edge."""
    bottom = 0.90 + person["chin"] + jaw
    below = jnp.clip((y - 0.05) / (bottom - 0.05), 0, 1.3)
    above = jnp.clip((0.05 - y) / 1.02, 0, 1.3)
    # The jaw number runs from pointed to square.
    power = 2.0 + 1.6 * person["jaw"]
    half = jnp.where(
        y > 0.05,
        jnp.clip(1 - below**power, 0, 1) ** (0.5 + 0.12 * (1 - person["jaw"])),
        jnp.clip(1 - above**2.4, 0, 1) ** 0.5,
    )
    half = person["head_width"] * half + 1e-3
    distance = jnp.maximum(jnp.abs(x) - half, jnp.maximum(y - bottom, -0.97 - y))
    return inside(distance, 1.5 * pixel), jnp.abs(x) / half


def _hair_behind(image, person, x, y, pixel):
    length = person["hair_length"]
    w = person["head_width"]
    top = ellipse_distance(x, y, 0.0, -0.18, w + 0.13, 0.90)
    sides = jnp.maximum(jnp.abs(x) - w - 0.06 - 0.05 * length, jnp.maximum(y - (1.5 * length - 0.35), -0.3 - y))
    return paint(image, _hair_colour(person) * 0.8, inside(jnp.minimum(top, sides), 2 * pixel))


def _ears(image, person, x, y, skin, shadow, pixel):
    a = jnp.abs(x)
    cx = person["head_width"] - 0.01
    image = paint(image, skin * 0.92, ellipse(a, y, cx, -0.02, person["ears"], 0.17, pixel))
    return paint(image, shadow, 0.5 * ellipse(a, y, cx + 0.01, -0.02, person["ears"] * 0.5, 0.09, 2 * pixel))


def _shaded_skin(person, seen, au, x, y, skin, jaw):
    nx, ny = x / 0.85, (y - 0.02) / 1.1
    nz = jnp.sqrt(jnp.clip(1 - nx**2 - ny**2, 0.05, 1))
    lx, ly = seen["light_x"], seen["light_y"]
    lz = jnp.sqrt(jnp.clip(1 - lx**2 - ly**2, 0.05, 1))
    light = 1 + seen["light_strength"] * ((nx * lx + ny * ly + nz * lz) - 0.75)
    face = jnp.clip(skin * light[..., None], 0, 1)
    a = jnp.abs(x)
    face = shade(face, 0.20 * blob(a, y, 0.22, -0.22, 0.16, 0.09))
    face = shade(face, 0.13 * blob(a, y, 0.55, 0.30, 0.16, 0.35))
    cheek_y = 0.20 - 0.10 * au[6] - 0.05 * au[12]
    face = paint(face, skin * jnp.asarray((1.0, 0.55, 0.5)), person["blush"] * blob(a, y, 0.42, cheek_y, 0.16, 0.12))
    # A raised cheek bulges: light above, a shadow below.
    bulge = jnp.maximum(au[6], 0.45 * au[12])
    face = shade(face, -0.20 * bulge * blob(a, y, 0.40, cheek_y - 0.03, 0.13, 0.06))
    face = shade(face, 0.22 * bulge * blob(a, y, 0.46, cheek_y + 0.12, 0.14, 0.05))
    spots = jnp.sin(61 * x + 5 * jnp.sin(31 * y)) * jnp.sin(57 * y + 5 * jnp.sin(27 * x))
    freckles = jnp.clip(spots - 0.6, 0, 1) * blob(a, y, 0.32, 0.12, 0.25, 0.12)
    face = shade(face, 0.6 * jnp.clip(person["freckles"], 0, 1) * freckles)
    # The chin: its boss rises and puckers with unit 17.
    chin_y = 0.80 + jaw - 0.02 * au[17]
    face = shade(face, -0.10 * blob(x, y, 0.0, chin_y, 0.14, 0.08))
    return shade(face, 0.18 * blob(x, y, 0.0, chin_y - 0.12, 0.15, 0.03))


def _positive(value):
    return jnp.clip(value, 0, 1)


def _lines(face, person, au, x, y, shadow, pixel):
    a = jnp.abs(x)
    pen = functools.partial(stroke, a, y, softness=1.6 * pixel)

    def draw(face, mask, alpha):
        return paint(face, shadow, mask * _positive(alpha))

    forehead = person["line_forehead"]
    for i, level in enumerate((-0.545, -0.615)):
        bend = 0.02 - 0.01 * i
        # The middle of the forehead furrows with unit 1, its sides over the brows with unit 2.
        middle = stroke(x, y, (0.20, level), (-0.20, level), -bend, 0.017, 1.6 * pixel)
        face = draw(face, middle, 0.9 * au[1] + forehead)
        side = pen((0.56, level + 0.045), (0.27, level + 0.01), -0.035, 0.017)
        face = draw(face, side, 0.9 * au[2] + forehead)
    glabella = pen((0.055, -0.43), (0.045, -0.27), -0.01, 0.022)
    face = draw(face, glabella, 0.95 * au[4] + person["line_glabella"])
    bridge = au[9]
    for level in (-0.20, -0.13, -0.06):
        face = draw(face, pen((0.0, level), (0.10, level + 0.035), -0.005, 0.017, taper=(1.0, 0.3)), 0.9 * bridge)
    face = draw(face, pen((0.10, -0.05), (0.15, 0.13), 0.01, 0.02), 0.75 * bridge)
    corner = person["eye_x"] + person["eye_width"] + 0.03
    for rise in (-0.06, 0.0, 0.06):
        foot = pen(
            (corner, person["eye_y"] + 0.02 + 0.4 * rise), (corner + 0.12, person["eye_y"] + 0.02 + rise * 1.5),
            0.0, 0.015,
        )  # fmt: skip
        face = draw(face, foot, 0.85 * au[6] + person["line_eyes"])
    pouch_y = person["eye_y"] + 0.145 - 0.02 * au[6]
    pouch = pen((person["eye_x"] - 0.15, pouch_y - 0.01), (person["eye_x"] + 0.17, pouch_y - 0.02), 0.035, 0.017)
    face = draw(face, pouch, 0.75 * au[6] + 0.12 + 0.4 * person["line_eyes"])
    # The nasolabial fold: its top with units 9 and 10, its middle with 11, its end with 12.
    wing, mouth_x = person["nose_width"] + 0.03, person["mouth_width"] + 0.07 + 0.07 * au[12]
    rest = person["line_nasolabial"]
    lift = 0.05 * jnp.maximum(au[9], au[10])
    upper = pen((wing, 0.13 - lift), (wing + 0.08, 0.25 - lift), -0.01, 0.02)
    face = draw(face, upper, 0.75 * jnp.maximum(au[10], 0.7 * au[9]) + 0.35 * au[12] + rest)
    middle = pen((wing + 0.02, 0.17), (mouth_x - 0.02, 0.40), -0.035, 0.028)
    face = draw(face, middle, 0.95 * au[11] + 0.2 * au[12] + 0.6 * rest)
    cheek = pen((wing + 0.08, 0.24), (mouth_x + 0.02, 0.47), -0.05, 0.022)
    face = draw(face, cheek, 0.8 * au[12] + 0.5 * rest)
    # The neck's cords show beside the chin when the lips stretch.
    return draw(face, pen((0.42, 0.55), (0.36, 0.72), 0.02, 0.018), 0.65 * au[20])


def _nose(face, person, au, x, y, shadow, pixel):
    a, width = jnp.abs(x), person["nose_width"]
    rise = 0.05 * au[9] + 0.015 * au[10]
    tip = person["nose_length"] - 0.5 * rise
    face = shade(face, person["nose_shade"] * jnp.exp(-(((x - 0.075) / 0.04) ** 2)) * _between(y, -0.2, tip, 0.1))
    face = shade(face, -0.12 * jnp.exp(-((x / 0.035) ** 2)) * _between(y, -0.25, tip, 0.1))
    face = shade(face, -0.10 * blob(x, y, 0.0, tip - 0.03, 0.06, 0.05))
    face = shade(face, 0.25 * blob(x, y, 0.0, tip + 0.06, 0.13, 0.025))
    wing_y = tip - rise
    spread = width * (1 + 0.22 * au[9])
    wing = stroke(a, y, (spread - 0.02, wing_y - 0.055), (spread - 0.035, wing_y + 0.035), -0.03, 0.014, 1.5 * pixel)
    face = paint(face, shadow, 0.7 * wing)
    nostril = ellipse(a, y, 0.45 * spread, wing_y + 0.022, 0.34 * spread, 0.022 + 0.012 * au[9], 1.5 * pixel)
    return paint(face, shadow * 0.4, 0.85 * nostril)


def _between(y, low, high, soft):
    return jnp.clip((y - low) / soft, 0, 1) * jnp.clip((high - y) / soft, 0, 1)


def _eyes(face, person, seen, au, x, y, shadow, pixel):
    side = jnp.sign(x)
    a = jnp.abs(x)
    half, cy = person["eye_width"], person["eye_y"]
    u = (a - person["eye_x"]) / half
    hill = jnp.clip(1 - u**2, 0, 1)
    tilt = -person["eye_tilt"] * u
    up = 0.083 + person["eye_open"] + 0.065 * au[5] - 0.042 * au[7] - 0.012 * au[6] - 0.012 * au[4]
    low = 0.055 + 0.5 * person["eye_open"] + 0.008 * au[5] - 0.040 * au[7] - 0.034 * au[6] - 0.012 * au[9]
    upper, lower = cy + tilt - up * hill**0.8, cy + tilt + low * hill
    opening = jnp.maximum(upper - y, y - lower)
    aperture = inside(jnp.maximum(opening, a - person["eye_x"] - half * 0.99), 1.2 * pixel)
    aperture = aperture * inside(person["eye_x"] - half * 0.99 - a, 1.2 * pixel)
    # The sclera is shaded below the upper lid.
    white = jnp.asarray((0.97, 0.95, 0.93)) * (1 - 0.25 * jnp.clip(1 - (y - upper) / 0.04, 0, 1))[..., None]
    face = paint(face, white, aperture)
    iris_x = person["eye_x"] + side * seen["gaze"]
    iris = ellipse(a, y, iris_x, cy - 0.012, 0.075, 0.075, 1.3 * pixel) * aperture
    face = paint(face, jnp.asarray(EYES)[person["eye_colour"].astype(jnp.int32)], iris)
    face = paint(face, DARK, ellipse(a, y, iris_x, cy - 0.012, 0.036, 0.036, 1.3 * pixel) * aperture)
    face = paint(
        face,
        jnp.ones(3),
        0.8 * ellipse(x, y, side * iris_x - 0.025, cy - 0.04, 0.016, 0.016, pixel) * aperture,
    )
    span = inside(jnp.abs(u) - 1.05, 0.25)
    lash = inside(jnp.abs(y - upper + 0.008) - 0.016, 1.4 * pixel) * span
    face = paint(face, DARK, 0.85 * lash)
    rim = inside(jnp.abs(y - lower - 0.006) - 0.009, 1.4 * pixel) * span
    face = paint(face, shadow, (0.45 + 0.5 * au[7]) * rim)
    crease_y = cy + tilt - (up + 0.045 - 0.03 * au[5]) * hill**0.8
    crease = inside(jnp.abs(y - crease_y) - 0.008, 1.6 * pixel) * span
    return paint(face, shadow, person["lid_crease"] * (1 - 0.5 * au[5]) * crease)


def _brows(face, person, au, x, y, pixel):
    a = jnp.abs(x)
    base = -0.345 - person["brow_height"]
    inner_x = person["brow_inner"] - 0.055 * au[4]
    inner_y = base + 0.02 + person["brow_tilt"] - 0.14 * au[1] - 0.02 * au[2] + 0.095 * au[4] + 0.03 * au[9]
    outer_y = base + 0.03 - person["brow_tilt"] - 0.12 * au[2] + 0.035 * au[4]
    bow = person["brow_arch"] + 0.075 * au[2] - 0.015 * au[4] + 0.015 * au[1]
    thickness = person["brow_thickness"]
    brow = stroke(a, y, (inner_x, inner_y), (0.49, outer_y), -bow, thickness, 1.3 * pixel, taper=(0.85, 0.25))
    return paint(face, _hair_colour(person) * 0.75, person["brow_dark"] * brow)


class _Mouth(NamedTuple):
    """Where a mouth lies: numbers, and curves f32[H, W] over x.

    half: half its width.
    hill: 1 in the middle, 0 at the corners.
    middle, corner: how low its middle lies, and how much lower its corners.
    gap: how far it is open in the middle.
    line: where the closed lips would meet.
    upper, lower: how thick the lips are in the middle.
    top, bottom: the inner edges of the lips.
    edge_top, edge_bottom: their outer edges.
    """

    half: jax.Array
    hill: jax.Array
    middle: jax.Array
    corner: jax.Array
    gap: jax.Array
    line: jax.Array
    upper: jax.Array
    lower: jax.Array
    top: jax.Array
    bottom: jax.Array
    edge_top: jax.Array
    edge_bottom: jax.Array


def _mouth(person, au, x, jaw):
    tight, press = au[23], au[24]
    half = person["mouth_width"] * (1 + 0.26 * au[12] + 0.30 * au[20] - 0.24 * tight - 0.05 * press + 0.03 * au[10])
    half = half * (1 - 0.10 * au[26] * (1 - au[20]))
    u = jnp.clip(x / half, -1.3, 1.3)
    hill, plateau = jnp.clip(1 - u**2, 0, 1), jnp.clip(1 - u**4, 0, 1)
    corner = -person["mouth_curve"] - 0.13 * au[12] + 0.12 * au[15] + 0.015 * au[20] + 0.02 * au[17]
    middle = person["mouth_y"] - 0.045 * au[17] + 0.02 * au[12] + 0.3 * jaw
    line = middle + corner * jnp.abs(u) ** 1.7
    gap = (0.075 * au[25] + 0.21 * au[26]) * (1 - 0.5 * press)
    top = line - (0.35 * gap * hill**0.7 + 0.065 * au[10] * plateau)
    bottom = line + 0.65 * gap * hill**0.7
    bottom = jnp.maximum(bottom, top)
    thin = (1 - 0.45 * tight) * (1 - 0.75 * press) * (1 - 0.30 * au[20])
    upper = person["lip_upper"] * thin * (1 + 0.35 * au[10])
    lower = person["lip_lower"] * thin * (1 + 0.35 * au[17])
    bow = upper * (hill**0.6 - 0.22 * jnp.exp(-((x / 0.05) ** 2)))
    # A lip raised squarely parts from a closed mouth: the gap that opens is filled by the lip itself.
    edge_top, edge_bottom = top - bow, bottom + lower * hill**0.8
    closed = jnp.where(gap > 0, 0.0, 1.0)
    top = top + closed * 0.065 * au[10] * plateau
    bottom = jnp.maximum(jnp.where(closed > 0, line, bottom), top)
    return _Mouth(half, hill, middle, corner, gap, line, upper, lower, top, bottom, edge_top, edge_bottom)


def _lip_colour(person, skin):
    red = jnp.asarray((0.72, 0.30, 0.30)) * (0.45 + 0.55 * jnp.mean(skin)) * 1.15
    return skin * (1 - 0.35 - 0.45 * person["lip_red"]) + red * (0.35 + 0.45 * person["lip_red"])


def _lips(face, mouth, au, x, y, colour, shadow, pixel):
    """Lips, and what shows between them: teeth, tongue, or the seam of a closed mouth."""
    half, middle, gap, top, bottom, press = mouth.half, mouth.middle, mouth.gap, mouth.top, mouth.bottom, au[24]
    within = inside(jnp.abs(x) - half, 1.5 * pixel)
    face = paint(face, shadow, 0.35 * blob(x, y, 0, middle + 0.65 * gap + mouth.lower + 0.035, 0.6 * half, 0.025))
    lips = inside(jnp.maximum(mouth.edge_top - y, y - mouth.edge_bottom), 1.3 * pixel) * within
    face = paint(face, colour * jnp.where(y < mouth.line, 0.86, 1.02)[..., None], lips)
    hole = inside(jnp.maximum(top - y, y - bottom), 1.2 * pixel) * within * jnp.clip(gap / 0.03, 0, 1)
    face = paint(face, jnp.asarray((0.22, 0.06, 0.07)), hole)
    teeth = inside(jnp.maximum(top - y, y - jnp.minimum(top + 0.065, bottom)), 1.2 * pixel)
    teeth = teeth * inside(jnp.abs(x) - 0.86 * half, 2 * pixel)
    face = paint(face, jnp.asarray((0.95, 0.93, 0.88)), 0.95 * teeth * hole)
    tongue = ellipse(x, y, 0, middle + 0.65 * gap, 0.55 * half, 0.4 * gap + 0.01, 2 * pixel)
    face = paint(face, jnp.asarray((0.68, 0.30, 0.30)), 0.7 * tongue * hole * jnp.clip(au[26], 0, 1))
    seam = inside(jnp.abs(y - 0.5 * (top + bottom)) - (0.011 + 0.012 * press), 1.3 * pixel) * within
    return paint(face, shadow * 0.55, (0.75 + 0.25 * press) * seam * (1 - jnp.clip(gap / 0.03, 0, 1)))


def _around_mouth(face, mouth, au, x, y, shadow, pixel):
    """Bulges and creases above, below and beside the lips."""
    half, middle, upper, lower = mouth.half, mouth.middle, mouth.upper, mouth.lower
    a = jnp.abs(x)

    def pen(start, end, bow, thickness):
        return stroke(a, y, start, end, bow, thickness, 1.4 * pixel)

    corner_y = middle + mouth.corner
    # Pressed lips bulge above and below; tightened ones crease towards the mouth.
    bulge = blob(x, y, 0, _edge_mean(mouth.edge_top, mouth.hill) - 0.045, 0.7 * half, 0.028)
    bulge = bulge + blob(x, y, 0, middle + lower + 0.06, 0.7 * half, 0.028)
    face = shade(face, -0.30 * au[24] * bulge)
    for place in (0.25, 0.7):
        px = place * half
        above = pen((px, middle - upper - 0.085), (px * 0.92, middle - upper - 0.015), 0.0, 0.013)
        face = paint(face, shadow, above * _positive(0.5 * au[23]))
        below = pen((px * 0.92, middle + lower + 0.02), (px, middle + lower + 0.085), 0.0, 0.013)
        face = paint(face, shadow, below * _positive(0.5 * au[23]))
    dimple = pen((half + 0.015, corner_y - 0.04), (half + 0.02, corner_y + 0.045), -0.02, 0.016)
    face = paint(face, shadow, dimple * _positive(0.75 * au[12] + 0.55 * au[20]))
    hang = pen((half - 0.005, corner_y - 0.005), (half + 0.03, corner_y + 0.10), -0.01, 0.019)
    return paint(face, shadow, hang * _positive(0.85 * au[15]))


def _chin(face, person, au, x, y, shadow, jaw, pixel):
    chin_y = 0.735 + jaw - 0.02 * au[17]
    a, pucker = jnp.abs(x), person["line_chin"]
    arc = stroke(x, y, (0.15, chin_y - 0.01), (-0.15, chin_y - 0.01), 0.055, 0.02, 1.5 * pixel)
    face = paint(face, shadow, arc * _positive(0.85 * au[17] + pucker))
    for px, py in ((0.05, 0.015), (0.10, 0.055), (0.035, 0.075)):
        spot = ellipse(a, y, px, chin_y + py, 0.02, 0.015, 1.5 * pixel)
        face = paint(face, shadow, spot * _positive(0.55 * au[17] + 0.4 * pucker))
    return face


def _edge_mean(edge, hill):
    """Where a lip's edge lies on average, weighted towards the middle of the mouth."""
    return jnp.sum(edge * hill) / (jnp.sum(hill) + 1e-6)


def _beard(face, person, x, y, outline, jaw):
    area = jnp.clip((y - 0.36) / 0.12, 0, 1) * jnp.clip((outline - 0.1) / 0.3, 0.55, 1)
    strength = 0.6 * _positive(person["beard"])
    return paint(face, _hair_colour(person) * 0.7, strength * area * 0.7)


def _glasses(image, person, x, y, pixel):
    a = jnp.abs(x)
    worn = (person["glasses"] > 0.35).astype(jnp.float32)
    ring = jnp.abs(ellipse_distance(a, y, person["eye_x"], person["eye_y"], 0.22, 0.18)) - 0.012
    bridge = stroke(x, y, (0.1, person["eye_y"] - 0.03), (-0.1, person["eye_y"] - 0.03), 0.01, 0.012, pixel, (1, 1))
    frame = jnp.maximum(inside(ring, pixel), bridge)
    return paint(image, jnp.asarray((0.13, 0.12, 0.14)), 0.8 * worn * frame)


def _hair_front(image, person, x, y, pixel):
    w, part = person["head_width"], person["parting"]
    line = (
        person["hairline"] + 0.35 * ((x - part * 0.6) / (w + 0.2)) ** 2 + 0.35 * jnp.clip(jnp.abs(x) / w - 0.72, 0, 1)
    )
    cap = ellipse_distance(x, y, 0.0, -0.20, w + 0.10, 0.86)
    hair = inside(jnp.maximum(cap, y - line), 2 * pixel)
    colour = _hair_colour(person)
    strands = 1 + 0.10 * jnp.sin(38 * (x - part) + 9 * y)
    gloss = 1 + 0.35 * blob(x, y, part, -0.80, 0.35, 0.10)
    return paint(image, jnp.clip(colour * (strands * gloss)[..., None], 0, 1), hair)


def _picture(image, seen):
    image = image * seen["exposure"] * (1 + seen["light_warm"] * jnp.asarray((1.0, 0.0, -1.0)))
    image = (image - 0.5) * seen["contrast"] + 0.5
    seed = (seen["noise_seed"] * 2**24).astype(jnp.uint32)
    grain = jax.random.normal(jax.random.key(seed), image.shape)
    return jnp.clip(image + seen["noise"] * grain, 0, 1)
