// Exact top-k tokens of every query, using a first pass in integer arithmetic. Needs AVX2 and FMA. AVX-512 multiplies
// twice as many numbers per instruction, and VNNI (of AVX-512 or AVX) multiplies and adds in one instruction.
//
// Both factors of the inner product are rounded to 16-bit integers, which are multiplied at twice the rate of floats.
// The products stay in registers: each is compared with the bound of its query, and tokens above it become candidates.
// When there is no room for more candidates, the bound becomes the `count`-th largest integer score minus the largest
// possible rounding error (by the Cauchy-Schwarz inequality), and the candidates below it are dropped; if too many
// remain, float32 scores give the bound, and the best `count` are kept. Therefore no token of the top k is missed.

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

namespace {

// Vectors of 32-bit integers.
#ifdef __AVX512BW__
using Integers = __m512i;
constexpr long TILE = 12;

Integers repeat(int x) { return _mm512_set1_epi32(x); }
Integers largest_of(Integers a, Integers b) { return _mm512_max_epi32(a, b); }
unsigned above(Integers a, Integers b) { return _mm512_cmpgt_epi32_mask(a, b); }
Integers add_products(Integers sum, Integers a, Integers b) {  // each lane: a pair of 16-bit integers
#ifdef __AVX512VNNI__
    // GCC 12 copies the sum before every _mm512_dpwssd_epi32, which takes half as long again.
    asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
#else
    return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
#endif
}
#else
using Integers = __m256i;
constexpr long TILE = 6;

Integers repeat(int x) { return _mm256_set1_epi32(x); }
Integers largest_of(Integers a, Integers b) { return _mm256_max_epi32(a, b); }
unsigned above(Integers a, Integers b) { return _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(a, b))); }
Integers add_products(Integers sum, Integers a, Integers b) {  // each lane: a pair of 16-bit integers
#ifdef __AVXVNNI__
    asm("%{vex%} vpdpwssd %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
    return sum;
#else
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
#endif
}
#endif
// TILE queries times PANEL tokens are multiplied in registers; BLOCK panels fit into the cache.
constexpr long WIDTH = sizeof(Integers) / sizeof(int), PANEL = 2 * WIDTH, BLOCK = 1024 / PANEL, GROUPS = 128 / PANEL;

struct alignas(sizeof(Integers)) Pairs {
    int16_t values[2 * WIDTH] = {};
};
using Tile = std::make_integer_sequence<long, TILE>;  // because GCC 12 keeps an array in memory if a loop counts

template <typename Work>
void in_parallel(long parts, long threads, Work work) {
    std::vector<std::thread> others;
    threads = std::max(1L, std::min(threads, parts));
    auto share = [=](long n) { work(parts * n / threads, parts * (n + 1) / threads); };
    for (long n = 1; n < threads; n++) others.emplace_back(share, n);
    share(0);
    for (auto& other : others) other.join();
}

float product(const float* a, const float* b, long length) {
    __m256 sum = _mm256_setzero_ps(), other = sum;
    long i = 0;
    for (; i + 16 <= length; i += 16) {
        sum = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), sum);
        other = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), other);
    }
    float lanes[8], total = 0;
    _mm256_storeu_ps(lanes, _mm256_add_ps(sum, other));
    for (float lane : lanes) total += lane;
    for (; i < length; i++) total += a[i] * b[i];
    return total;
}

// A lower bound of the `count`-th largest of `n` numbers that falls short of it by at most `tolerance`.
int nearly_largest(const int* numbers, long n, long count, double tolerance) {
    const auto [least, most] = std::minmax_element(numbers, numbers + n);
    long low = *least, high = *most;
    while (high - low > tolerance) {
        const int middle = static_cast<int>((low + high + 1) / 2);
        int reached = 0;
        for (long i = 0; i < n; i++) reached += numbers[i] >= middle;
        if (reached >= count)
            low = middle;
        else
            high = middle - 1;
    }
    return static_cast<int>(low);
}

// The state of the search of one query. Integer scores are the inner products of the rounded factors.
struct Search {
    const float* query;
    int *scores, *tokens;  // of the candidates
    long size;             // number of candidates
    double unit, error;    // float score per unit of integer score; largest error of an integer score
    int bound;             // tokens with an integer score above it become candidates

    void add_candidate(int score, int token) { scores[size] = score, tokens[size++] = token; }

    void raise_bound(double to) {
        bound = std::max(bound, static_cast<int>(std::clamp(std::floor(to) - 1, double(INT_MIN), double(INT_MAX))));
    }
};

// Inner products of a tile of queries with a panel of tokens; in both, pairs of columns are the outermost axis. Returns
// whether any is above the bound of its query; otherwise `out` and `masks` (by query, of its tokens) may be unchanged.
template <long... I>  // 0 to TILE - 1
__attribute__((noinline)) bool products(std::integer_sequence<long, I...>, const int* queries, const Integers* tokens,
                                        long pairs, const Search* searches, Integers (*out)[2], unsigned* masks) {
    Integers left[] = {repeat(0 * I)...}, right[] = {repeat(0 * I)...};
    for (long pair = 0; pair < pairs; pair++, tokens += 2, queries += TILE) {
        const Integers first = tokens[0], second = tokens[1];
        ((left[I] = add_products(left[I], repeat(queries[I]), first),
          right[I] = add_products(right[I], repeat(queries[I]), second)), ...);
    }
    unsigned any = 0;
    ((any |= masks[I] = above(left[I], repeat(searches[I].bound)) |
                        above(right[I], repeat(searches[I].bound)) << WIDTH), ...);
    if (!any) return false;
    ((out[I][0] = left[I], out[I][1] = right[I]), ...);
    return true;
}

// The float32 scores and candidate numbers of the `count` best candidates, unordered except that the worst comes last.
std::vector<std::pair<float, int>> exact_best(const Search& search, const float* tokens, long length, long count) {
    std::vector<std::pair<float, int>> best(search.size);
    for (int i = 0; i < search.size; i++)
        best[i] = {product(search.query, tokens + search.tokens[i] * length, length), i};
    std::nth_element(best.begin(), best.begin() + count - 1, best.end(), std::greater<>());
    best.resize(count);
    return best;
}

// Raises the bound and drops candidates that cannot be among the best.
void prune(Search& search, const float* tokens, long length, long count) {
    search.raise_bound(nearly_largest(search.scores, search.size, count, search.error / 4) - 2 * search.error);
    const long size = std::exchange(search.size, 0);
    for (long i = 0; i < size; i++) {
        search.scores[search.size] = search.scores[i], search.tokens[search.size] = search.tokens[i];
        search.size += search.scores[search.size] > search.bound;
    }
    if (search.size <= 2 * count) return;
    // The integer scores are too similar to tell the best apart, so float32 scores are needed.
    auto best = exact_best(search, tokens, length, count);
    search.raise_bound(best[count - 1].first / search.unit - search.error);
    std::sort(best.begin(), best.end(), [](auto& a, auto& b) { return a.second < b.second; });
    search.size = 0;
    for (auto& [score, i] : best) search.add_candidate(search.scores[i], search.tokens[i]);
}

}  // namespace

// tokens (n, length), queries (q, length) -> scores and index (q, count), unordered for each query; count <= n.
// Returns 0, or 1 if a number is not finite; the outputs are then undefined.
extern "C" int best_tokens(const float* tokens, long n, const float* queries, long q, long length, long count,
                            long threads, float* scores, int64_t* index) {
    const long pairs = (length + 1) / 2, panels = (n + PANEL - 1) / PANEL, tiles = (q + TILE - 1) / TILE;
    const long room = 4 * count + PANEL;
    const float limit = std::min(32767.0, std::floor(std::sqrt(2147483647.0 / (2 * pairs))));  // no sum overflows

    // Columns differ widely in magnitude, so each column of the tokens is scaled to the same range, and the same
    // column of the queries by the inverse factor.
    std::vector<float> largest(length, 1e-30f);
    for (long t = 0; t < n; t++)
        for (long c = 0; c < length; c++) largest[c] = std::max(largest[c], std::fabs(tokens[t * length + c]));
    std::vector<float> scale(length);
    for (long c = 0; c < length; c++) scale[c] = limit / largest[c];

    std::vector<Pairs> packed_pairs(panels * pairs * 2);  // zeros: (panel, pair of columns, token, column of the pair)
    int16_t* packed = reinterpret_cast<int16_t*>(packed_pairs.data());
    std::vector<double> norm(panels), residual(panels);
    std::atomic<bool> finite{true};
    in_parallel(panels, threads, [&](long first, long last) {
        std::vector<int16_t> row(2 * pairs, 0);
        for (long panel = first; panel < last; panel++)
            for (long t = panel * PANEL; t < std::min(n, (panel + 1) * PANEL); t++) {
                float square = 0, square_lost = 0;
#pragma omp simd reduction(+ : square, square_lost)
                for (long c = 0; c < length; c++) {
                    const float x = tokens[t * length + c] * scale[c], rounded = std::nearbyint(x);
                    square += x * x;
                    square_lost += (x - rounded) * (x - rounded);
                    row[c] = static_cast<int16_t>(static_cast<int>(rounded));
                }
                for (long pair = 0; pair < pairs; pair++)
                    std::memcpy(&packed[((panel * pairs + pair) * PANEL + t % PANEL) * 2], &row[2 * pair], 4);
                if (!std::isfinite(square)) finite = false;
                norm[panel] = std::max(norm[panel], std::sqrt(double(square)));
                residual[panel] = std::max(residual[panel], std::sqrt(double(square_lost)));
            }
    });
    if (!finite) return 1;
    const double token_norm = *std::max_element(norm.begin(), norm.end());
    const double token_lost = *std::max_element(residual.begin(), residual.end());

    in_parallel(tiles, threads, [&](long first, long last) {
        const long own = (last - first) * TILE;
        std::vector<int16_t> rounded(own * pairs * 2, 0);
        std::vector<int> candidates(2 * own * room);
        // Rows of the last tile without a query keep the bound INT_MAX, so that they get no candidates.
        std::vector<Search> searches(own, {nullptr, nullptr, nullptr, 0, 1, 0, INT_MAX});
        for (long i = 0; i < own; i++) {
            if (first * TILE + i >= q) continue;
            const float* query = queries + (first * TILE + i) * length;
            float most = 1e-30f;
            for (long c = 0; c < length; c++) most = std::max(most, std::fabs(query[c] * largest[c]));
            double square = 0, square_lost = 0;
            for (long c = 0; c < length; c++) {
                const float x = query[c] * largest[c] * (limit / most), whole = std::nearbyint(x);
                square += double(x) * x;
                square_lost += double(x - whole) * (x - whole);
                rounded[((i / TILE * pairs + c / 2) * TILE + i % TILE) * 2 + c % 2] = static_cast<int16_t>(whole);
            }
            if (!std::isfinite(square)) finite = false;
            const double norm = std::sqrt(square), lost = std::sqrt(square_lost);
            // The error of rounding both factors, plus that of summing in float32.
            const double error = lost * token_norm + (norm + lost) * token_lost + 1e-6 * norm * token_norm;
            int* own_candidates = &candidates[2 * i * room];
            searches[i] = {query, own_candidates, own_candidates + room, 0, double(most) / limit / limit, error, INT_MIN};
        }
        if (!finite) return;
        Integers sums[TILE][2];
        unsigned masks[TILE];
        const long sample = std::min(2 * BLOCK, panels / 6);
        if (count <= GROUPS * PANEL)
            for (long tile = 0; tile < own; tile += TILE) {
                // Initial bound: the `count`-th largest of the maxima of groups of the newest tokens, since at least `count`
                // tokens have scores that large. All bounds are INT_MIN before, so that `products` stores all sums.
                alignas(64) int largest[TILE][GROUPS][PANEL];
                std::fill(&largest[0][0][0], &largest[0][0][0] + sizeof largest / sizeof(int), INT_MIN);
                for (long panel = 0; panel < sample; panel++) {
                    products(Tile(), reinterpret_cast<const int*>(&rounded[tile * pairs * 2]),
                             reinterpret_cast<const Integers*>(&packed[(panels - 2 - panel) * pairs * PANEL * 2]), pairs,
                             &searches[tile], sums, masks);
                    for (long i = 0; i < TILE; i++) {
                        Integers* group = reinterpret_cast<Integers*>(largest[i][panel % GROUPS]);
                        group[0] = largest_of(group[0], sums[i][0]);
                        group[1] = largest_of(group[1], sums[i][1]);
                    }
                }
                for (long i = 0; i < TILE; i++) {
                    Search& search = searches[tile + i];
                    const int reached = nearly_largest(&largest[i][0][0], GROUPS * PANEL, count, search.error / 4);
                    search.raise_bound(reached - 2 * search.error);
                }
            }
        // The newest tokens first, because they are most similar to the queries and quickly give a high bound.
        for (long stop = panels; stop > 0; stop -= BLOCK)
            for (long tile = 0; tile < own; tile += TILE)
                for (long panel = std::max(0L, stop - BLOCK); panel < stop; panel++) {
                    if (!products(Tile(), reinterpret_cast<const int*>(&rounded[tile * pairs * 2]),
                                  reinterpret_cast<const Integers*>(&packed[panel * pairs * PANEL * 2]), pairs,
                                  &searches[tile], sums, masks))
                        continue;
                    for (long i = 0; i < TILE; i++) {
                        Search& search = searches[tile + i];
                        for (unsigned mask = masks[i]; mask; mask &= mask - 1) {
                            const int lane = __builtin_ctz(mask), token = panel * PANEL + lane;
                            if (token >= n) break;
                            search.add_candidate(reinterpret_cast<const int*>(sums[i])[lane], token);
                        }
                        if (search.size > room - PANEL) prune(search, tokens, length, count);
                    }
                }
        for (long i = 0; i < own && first * TILE + i < q; i++) {
            const long row = (first * TILE + i) * count;
            prune(searches[i], tokens, length, count);
            auto top = exact_best(searches[i], tokens, length, count);
            for (long k = 0; k < count; k++) {
                scores[row + k] = top[k].first;
                index[row + k] = searches[i].tokens[top[k].second];
            }
        }
    });
    return finite ? 0 : 1;
}
