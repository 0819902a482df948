"""Draw the example clip: a spotted car and a beach ball pass each other, and both pass behind a tree.

    python scripts/draw_example.py [--out examples/clip] [--frames N] [--seed S]

Everything is a formula of the world position under a pixel: surfaces are value noise, outlines are signed
distances. So pictures are smooth, textures stick to their objects, and the masks (label 1 car, 2 ball),
taken at pixel centres from the same distances, are exact. Same seed, same clip.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from xmem_infer.io.palette import davis_palette

WIDTH, HEIGHT, FRAMES = 432, 240, 48
SMOOTH = 2  # pictures are drawn this many times larger and averaged down
CAR, BALL = 1, 2
HORIZON, ROAD_TOP, ROAD_BOTTOM = 108, 160, 222  # px from above, at rest
TREE_X, TREE_HALF_PX = 332, 33  # of the trunk, at rest

CAR_OUTLINE = [
    (-58, 13), (-61, 24), (-56, 36), (-43, 45), (-28, 57), (-6, 64), (14, 61), (28, 50),
    (46, 44), (58, 34), (62, 22), (59, 12), (36, 9), (0, 8), (-36, 9),
]  # fmt: skip
REAR_WINDOW = [(-27, 45), (-20, 54), (-5, 58), (-4, 45)]
FRONT_WINDOW = [(2, 45), (1, 58), (12, 56), (23, 46)]
WHEELS = (-37, 37)
DOTS = [(-46, 31, 6), (-33, 42, 4), (-16, 30, 7), (4, 26, 5), (22, 36, 6), (43, 32, 5), (12, 15, 4), (-24, 16, 4)]


class Noise:
    """Value noise in [0, 1], a fixed function of position: a random lattice, smoothly interpolated."""

    def __init__(self, seed: int) -> None:
        self.lattice = np.random.default_rng(seed).random((256, 256))

    def single(self, x, y):
        left, top = np.floor(x).astype(int), np.floor(y).astype(int)
        u, v = x - left, y - top
        u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
        x0, x1, y0, y1 = left & 255, (left + 1) & 255, top & 255, (top + 1) & 255
        above = self.lattice[y0, x0] * (1 - u) + self.lattice[y0, x1] * u
        below = self.lattice[y1, x0] * (1 - u) + self.lattice[y1, x1] * u
        return above * (1 - v) + below * v

    def __call__(self, x, y, octaves=4):
        x, y = np.broadcast_arrays(x, y)
        total = sum(self.single(x * 2**k + 37 * k, y * 2**k + 91 * k) / 2**k for k in range(octaves))
        return total / (2 - 2.0 ** (1 - octaves))


def mix(first, second, share):
    """Colours blended: share 0 gives the first, 1 the second; share (H, W), colours (3,) or (H, W, 3)."""
    share = np.clip(share, 0, 1)[..., None]
    return np.asarray(first, float) * (1 - share) + np.asarray(second, float) * share


def cover(distance):
    """Opacity of a shape from its signed distance in px (negative inside): a soft edge one pixel wide."""
    return np.clip(0.5 - distance * SMOOTH, 0, 1)


def spline(points, per_edge=5):
    """A closed smooth outline through `points` (Catmull-Rom)."""
    p1 = np.array(points, float)
    p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
    t = np.linspace(0, 1, per_edge, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (p[:, None] for p in (p0, p1, p2, p3))
    curve = 2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    return (curve / 2).reshape(-1, 2)


def polygon(x, y, points):
    """Signed distance to a closed polygon, negative inside."""
    nearest, inside = np.full(x.shape, np.inf), np.zeros(x.shape, bool)
    points = np.asarray(points, float)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, 0), strict=True):
        ex, ey, wx, wy = bx - ax, by - ay, x - ax, y - ay
        along = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1)
        nearest = np.minimum(nearest, (wx - ex * along) ** 2 + (wy - ey * along) ** 2)
        if ey:
            inside ^= ((ay <= y) != (by <= y)) & (wx < ex * wy / ey)
    return np.where(inside, -1, 1) * np.sqrt(nearest)


class Scene:
    """The world at one moment; t in frames. Screen and world differ by the camera's drift."""

    def __init__(self, t: float, noise: Noise) -> None:
        self.noise = noise
        self.camera_x = 0.9 * t + 3 * np.sin(t / 9)
        self.camera_y = 1.6 * np.sin(t / 7 + 1)
        progress = t / (FRAMES - 1)
        self.car_x = 66 + 326 * progress - 14 * np.sin(2 * np.pi * progress)  # screen px
        self.car_y = 211 - self.camera_y + 0.7 * np.sin(t * 1.3)
        self.car_tilt = 0.025 * np.sin(t / 2.3)
        self.car_size = 0.98 + 0.14 * progress
        self.wheel_turn = -self.car_x / 13
        hop = (t / 12 + 0.08) % 1
        height = 4 * hop * (1 - hop)
        self.ball_x = 398 - 362 * progress
        self.ball_squash = 1 - 0.16 * max(0.0, 1 - height / 0.25)
        self.ball_r = 23.0
        self.ball_floor = 187 - self.camera_y
        self.ball_y = self.ball_floor - self.ball_r * self.ball_squash - 34 * height
        self.ball_turn = -(398 - self.ball_x) / 27

    def car_local(self, x, y):
        """Car coordinates: px at size 1, x forward, y up from the ground under the middle."""
        dx, dy = x - self.car_x, self.car_y - y
        c, s = np.cos(self.car_tilt), np.sin(self.car_tilt)
        return (c * dx + s * dy) / self.car_size, (c * dy - s * dx) / self.car_size

    def car_distance(self, x, y):
        u, v = self.car_local(x, y)
        body = polygon(u, v, spline(CAR_OUTLINE))
        wheels = [np.hypot(u - at, v - 12) - 12.5 for at in WHEELS]
        return np.minimum.reduce([body, *wheels]) * self.car_size

    def ball_local(self, x, y):
        """Ball coordinates: the unit disc."""
        stretch = 1 / np.sqrt(self.ball_squash)
        return (x - self.ball_x) / (self.ball_r * stretch), (y - self.ball_y) / (self.ball_r * self.ball_squash)

    def ball_distance(self, x, y):
        return (np.hypot(*self.ball_local(x, y)) - 1) * self.ball_r

    def tree_distance(self, x, y):
        x, y = x + 1.25 * self.camera_x, y + self.camera_y
        flare = 26 * np.clip((y - 190) / 50, 0, 1) ** 2 + 10 * np.clip((60 - y) / 60, 0, 1) ** 2
        wobble = 9 * (self.noise(y / 45, np.zeros_like(y), 3) - 0.5)
        return np.abs(x - TREE_X - wobble) - TREE_HALF_PX - flare

    def leaves_distance(self, x, y):
        x, y = x + 1.25 * self.camera_x, y + self.camera_y
        return 26 * (y / 46 - 0.1 - 1.4 * self.noise(x / 34 + 7, y / 30, 4) + 0.15 * np.sin(x / 55))

    def masks(self, x, y):
        """Label image (H, W) uint8 of what is visible at these positions."""
        labels = np.zeros(x.shape, np.uint8)
        labels[self.ball_distance(x, y) < 0] = BALL
        labels[self.car_distance(x, y) < 0] = CAR
        labels[np.minimum(self.tree_distance(x, y), self.leaves_distance(x, y)) < 0] = 0
        return labels

    def picture(self, x, y):
        """Colours (H, W, 3), about [0, 1]."""
        canvas = self.land(x, y)
        for shadow_x, floor, half, dark in (
            (self.ball_x + 5, self.ball_floor, 17 + 0.12 * (self.ball_floor - self.ball_y), 0.45),
            (self.car_x + 3, self.car_y - 1, 60 * self.car_size, 0.7),
        ):
            reach = np.hypot((x - shadow_x) / half, (y - floor) / (half * 0.13))
            canvas = mix(canvas, canvas * 0.25, dark * np.clip(1.6 - 1.2 * reach, 0, 1))
        for distance, paint, at_x, at_y, reach in (
            (self.ball_distance, self.ball_paint, self.ball_x, self.ball_y, 30),
            (self.car_distance, self.car_paint, self.car_x, self.car_y - 30, 82),
        ):
            near = np.s_[
                np.searchsorted(y[:, 0], at_y - reach) : np.searchsorted(y[:, 0], at_y + reach),
                np.searchsorted(x[0], at_x - reach) : np.searchsorted(x[0], at_x + reach),
            ]
            px, py = x[near], y[near]
            canvas[near] = mix(canvas[near], paint(px, py), cover(distance(px, py)))
        canvas = mix(canvas, self.bark(x, y), cover(self.tree_distance(x, y)))
        return mix(canvas, self.foliage(x, y), cover(self.leaves_distance(x, y)))

    def land(self, x, y):
        """Sky, hills, woods, field and road, nearer layers drifting faster."""
        noise, y = self.noise, y + self.camera_y
        cloud = noise(x / 90 + self.camera_x / 900, y / 28, 5)
        canvas = mix(mix((0.36, 0.62, 0.88), (0.86, 0.92, 0.93), y / HORIZON), (1, 1, 1), 2.8 * (cloud - 0.5))
        far = x + 0.25 * self.camera_x
        ridge = y - HORIZON + 8 + 44 * noise(far / 80 + 9, np.zeros_like(y), 4)
        hill = mix((0.42, 0.58, 0.62), (0.52, 0.68, 0.52), noise(far / 20, y / 9, 4))
        canvas = mix(canvas, hill, cover(-ridge))
        mid = x + 0.55 * self.camera_x
        crown = y - HORIZON + 4 + 30 * noise(mid / 17 + 3, np.zeros_like(y) + 5, 4)
        leaf = noise(mid / 7, y / 6, 4)
        wood = mix((0.07, 0.20, 0.13), (0.38, 0.52, 0.20), 1.5 * leaf - 0.25 - (crown - 10) / 70)
        canvas = mix(canvas, wood, cover(-crown))
        depth = 1 / np.clip((y - HORIZON + 14) / 100, 0.05, None)  # of the ground: 1 in front, large far away
        ground = (x + self.camera_x - WIDTH / 2) * depth**0.35
        row = -np.log(depth)
        blade = noise(ground / 4, row * 22, 4)
        patch = noise(ground / 60, row * 3, 3)
        field = mix(
            mix((0.52, 0.40, 0.14), (0.90, 0.77, 0.40), 1.6 * blade - 0.35), (0.50, 0.58, 0.24), 2 * patch - 0.95
        )
        flower = noise.single(ground / 2.3, row * 30)
        field = mix(field, (0.97, 0.93, 0.75), 9 * (flower - 0.93))
        canvas = mix(canvas, field, cover(HORIZON + 4 * noise(mid / 30, np.zeros_like(y), 2) - y))
        edge = 3 * noise(ground / 16, y / 9, 3)
        asphalt = mix((0.33, 0.32, 0.34), (0.62, 0.59, 0.57), noise(ground / 2, y / 1.3, 3) * 0.9 + 0.5 * patch - 0.2)
        dash = np.maximum(np.abs((ground + 40) % 90 - 45) - 22, np.abs(y - 190) * 12 - 18)
        asphalt = mix(asphalt, (0.93, 0.90, 0.80), cover(dash) * 0.85)
        return mix(canvas, asphalt, cover(np.maximum(ROAD_TOP + edge - y, y - ROAD_BOTTOM - edge)))

    def ball_paint(self, x, y):
        """A beach ball: six panels around a tilted axis, turning as it rolls."""
        u, v = self.ball_local(x, y)
        w = np.sqrt(np.clip(1 - u * u - v * v, 0, 1))
        c, s = np.cos(self.ball_turn), np.sin(self.ball_turn)
        p, q = c * u + s * v, c * v - s * u
        q, w2 = 0.62 * q + 0.78 * w, 0.62 * w - 0.78 * q
        panel = (np.arctan2(q, p) / (2 * np.pi) * 6) % 6
        paints = np.array([(0.45, 0.22, 0.66), (0.97, 0.97, 0.95), (0.88, 0.16, 0.20)] * 2)
        colour = paints[panel.astype(int) % 6]
        colour = mix(colour, (0.15, 0.55, 0.60), cover((0.90 - np.abs(w2)) * self.ball_r))
        seam = np.minimum(panel % 1, 1 - panel % 1) * np.hypot(p, q) * self.ball_r
        colour = mix(colour, colour * 0.6, cover(seam - 0.4) * 0.8)
        light = -0.5 * u - 0.65 * v + 0.57 * w
        colour = colour * (0.42 + 0.62 * np.clip(light, 0, 1))[..., None]
        colour = colour * (0.94 + 0.12 * self.noise(p * 9 + 20, q * 9 + 20, 2))[..., None]
        return mix(colour, (1, 1, 1), 0.8 * np.clip(light, 0, 1) ** 24)

    def car_paint(self, x, y):
        """A round little car, blue with cream dots."""
        u, v = self.car_local(x, y)
        noise = self.noise(u / 9 + 50, v / 9 + 50, 4)
        lit = np.clip((v - 10) / 55, 0, 1)
        body = mix((0.03, 0.12, 0.40), (0.12, 0.50, 0.92), 1.2 * lit + 0.35 * (noise - 0.5) + 0.1)
        for at_x, at_y, radius in DOTS:
            body = mix(body, (0.98, 0.91, 0.76), cover(np.hypot(u - at_x, v - at_y) - radius))
        rim = polygon(u, v, spline(CAR_OUTLINE))
        body = mix(body, (0.85, 0.95, 1), 0.75 * cover(np.abs(rim + 4.5) - 1.2) * np.clip((v - 38) / 14, 0, 1))
        body = mix(body, body * 0.45, 0.8 * cover(np.abs(np.hypot(u - 24, v - 27) - 26) - 0.7) * (u < 4))
        for at in WHEELS:
            arch = np.hypot(u - at, v - 13)
            body = mix(body, (0.02, 0.10, 0.32), cover(arch - 18))
            body = mix(body, (0.45, 0.75, 1.0), cover(np.abs(arch - 18) - 0.9) * (v > 14) * 0.7)
        for window in (REAR_WINDOW, FRONT_WINDOW):
            pane = polygon(u, v, window) - 2
            sky = mix((0.10, 0.16, 0.22), (0.66, 0.82, 0.92), (v - 46) / 16 + 0.5 * (((u + v) % 22) < 6))
            body = mix(body, (0.85, 0.84, 0.80), cover(pane - 1.2))
            body = mix(body, sky, cover(pane))
        chrome = (0.82, 0.82, 0.84)
        body = mix(body, chrome, cover(np.abs(v - 12) + np.clip(48 - np.abs(u), 0, None) - 2.2))
        body = mix(body, (0.99, 0.95, 0.72), cover(np.hypot((u - 56) * 1.3, v - 29) - 5))
        body = mix(body, (0.99, 0.45, 0.12), cover(np.hypot((u + 57) * 1.6, v - 25) - 3.5))
        for at in WHEELS:
            r, around = np.hypot(u - at, v - 12), np.arctan2(v - 12, u - at) - self.wheel_turn
            hub = mix(chrome, (0.25, 0.25, 0.28), 4 * np.cos(5 * around) - 1)
            wheel = mix((0.09, 0.09, 0.10), (0.17, 0.16, 0.16), self.noise(u / 2, v / 2, 2))
            wheel = mix(mix(wheel, chrome, cover(r - 8)), hub, cover(r - 6.8))
            wheel = mix(wheel, (0.85, 0.10, 0.08), cover(r - 2.4))
            body = mix(body, wheel, cover(r - 12.5))
        return body

    def bark(self, x, y):
        """The trunk in front: furrowed, lit from the left, moss on the right."""
        distance = self.tree_distance(x, y)
        x, y = x + 1.25 * self.camera_x, y + self.camera_y
        warp = 9 * self.noise(x / 30, y / 40, 3)
        furrow = np.abs(self.noise((x + warp) / 6.5, y / 34, 4) - 0.5) * 2
        bark = mix((0.16, 0.11, 0.08), (0.58, 0.46, 0.35), 2.3 * furrow + 0.3 * self.noise(x / 3, y / 3, 2) - 0.12)
        side = (x - TREE_X) / TREE_HALF_PX
        bark = mix(bark, (0.30, 0.38, 0.14), 0.9 * (side + 0.1) * self.noise(x / 12, y / 16, 4))
        return bark * (0.62 + 0.42 * np.clip(-distance / TREE_HALF_PX, 0, 1) - 0.2 * side)[..., None]

    def foliage(self, x, y):
        """Leaves hanging into the picture from above."""
        distance = self.leaves_distance(x, y)
        x, y = x + 1.25 * self.camera_x, y + self.camera_y
        leaf = self.noise(x / 6, y / 5, 4)
        return mix((0.05, 0.16, 0.06), (0.45, 0.62, 0.18), 1.9 * leaf - 0.5 + 0.012 * distance)


def draw(index: int, seed: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Frame `index`: picture (HEIGHT, WIDTH, 3) uint8 RGB and labels (HEIGHT, WIDTH) uint8."""
    scene = Scene(float(index), Noise(seed))
    x, y = np.meshgrid(*((np.arange(n * SMOOTH) + 0.5) / SMOOTH for n in (WIDTH, HEIGHT)))
    fine = scene.picture(x, y).reshape(HEIGHT, SMOOTH, WIDTH, SMOOTH, 3)
    grain = np.random.default_rng([seed, index]).normal(0, 0.008, (HEIGHT, WIDTH, 1))
    picture = np.clip(fine.mean((1, 3)) + grain, 0, 1) ** 0.95
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    return np.rint(picture * 255).astype(np.uint8), scene.masks(x, y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "examples" / "clip")
    parser.add_argument("--frames", type=int, default=FRAMES, help="draw only the first N")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    pictures, masks = args.out / "JPEGImages" / "scene", args.out / "Annotations" / "scene"
    pictures.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    for index in range(args.frames):
        picture, labels = draw(index, args.seed)
        Image.fromarray(picture).save(pictures / f"{index:05d}.jpg", quality=88)
        mask = Image.fromarray(labels).convert("P")
        mask.putpalette(davis_palette())
        mask.save(masks / f"{index:05d}.png", compress_level=9)


if __name__ == "__main__":
    main()
