"""Names of the instructions as the node's validator prints them, in one case only: a constant expression holds one."""

from __future__ import annotations

from typing import Final

# prefix (0: none) -> runs of consecutive opcodes, "first-opcode-in-hex: name name ..."
_NAMES = {
    0x00: """
        0: unreachable nop block loop if else try catch throw rethrow throw_ref c: br br_if br_table return call
        call_indirect return_call return_call_indirect call_ref return_call_ref 18: delegate catch_all drop select
        typed_select 1f: try_table local_get local_set local_tee 24: global_set table_get table_set 28: i32_load
        i64_load f32_load f64_load i32_load8_s i32_load8_u i32_load16_s i32_load16_u i64_load8_s i64_load8_u
        i64_load16_s i64_load16_u i64_load32_s i64_load32_u i32_store i64_store f32_store f64_store i32_store8
        i32_store16 i64_store8 i64_store16 i64_store32 memory_size memory_grow 45: i32_eqz i32_eq i32_ne i32_lt_s
        i32_lt_u i32_gt_s i32_gt_u i32_le_s i32_le_u i32_ge_s i32_ge_u i64_eqz i64_eq i64_ne i64_lt_s i64_lt_u i64_gt_s
        i64_gt_u i64_le_s i64_le_u i64_ge_s i64_ge_u f32_eq f32_ne f32_lt f32_gt f32_le f32_ge f64_eq f64_ne f64_lt
        f64_gt f64_le f64_ge i32_clz i32_ctz i32_popcnt i32.add i32.sub i32.mul i32_div_s i32_div_u i32_rem_s i32_rem_u
        i32_and i32_or i32_xor i32_shl i32_shr_s i32_shr_u i32_rotl i32_rotr i64_clz i64_ctz i64_popcnt i64.add i64.sub
        i64.mul i64_div_s i64_div_u i64_rem_s i64_rem_u i64_and i64_or i64_xor i64_shl i64_shr_s i64_shr_u i64_rotl
        i64_rotr f32_abs f32_neg f32_ceil f32_floor f32_trunc f32_nearest f32_sqrt f32_add f32_sub f32_mul f32_div
        f32_min f32_max f32_copysign f64_abs f64_neg f64_ceil f64_floor f64_trunc f64_nearest f64_sqrt f64_add f64_sub
        f64_mul f64_div f64_min f64_max f64_copysign i32_wrap_i64 i32_trunc_f32_s i32_trunc_f32_u i32_trunc_f64_s
        i32_trunc_f64_u i64_extend_i32_s i64_extend_i32_u i64_trunc_f32_s i64_trunc_f32_u i64_trunc_f64_s
        i64_trunc_f64_u f32_convert_i32_s f32_convert_i32_u f32_convert_i64_s f32_convert_i64_u f32_demote_f64
        f64_convert_i32_s f64_convert_i32_u f64_convert_i64_s f64_convert_i64_u f64_promote_f32 i32_reinterpret_f32
        i64_reinterpret_f64 f32_reinterpret_i32 f64_reinterpret_i64 i32_extend8_s i32_extend16_s i64_extend8_s
        i64_extend16_s i64_extend32_s d1: ref_is_null d3: ref_eq ref_as_non_null br_on_null br_on_non_null
    """,
    0xFB: """
        0: struct.new struct.new_default struct_get struct_get_s struct_get_u struct_set array.new array.new_default
        array.new_fixed array_new_data array_new_elem array_get array_get_s array_get_u array_set array_len array_fill
        array_copy array_init_data array_init_elem ref_test_non_null ref_test_nullable ref_cast_non_null
        ref_cast_nullable br_on_cast br_on_cast_fail any_convert_extern extern_convert_any ref.i31 i31_get_s i31_get_u
    """,
    0xFC: """
        0: i32_trunc_sat_f32_s i32_trunc_sat_f32_u i32_trunc_sat_f64_s i32_trunc_sat_f64_u i64_trunc_sat_f32_s
        i64_trunc_sat_f32_u i64_trunc_sat_f64_s i64_trunc_sat_f64_u memory_init data_drop memory_copy memory_fill
        table_init elem_drop table_copy table_grow table_size table_fill memory_discard
    """,
    0xFD: """
        0: v128_load v128_load8x8_s v128_load8x8_u v128_load16x4_s v128_load16x4_u v128_load32x2_s v128_load32x2_u
        v128_load8_splat v128_load16_splat v128_load32_splat v128_load64_splat v128_store d: i8x16_shuffle i8x16_swizzle
        i8x16_splat i16x8_splat i32x4_splat i64x2_splat f32x4_splat f64x2_splat i8x16_extract_lane_s
        i8x16_extract_lane_u i8x16_replace_lane i16x8_extract_lane_s i16x8_extract_lane_u i16x8_replace_lane
        i32x4_extract_lane i32x4_replace_lane i64x2_extract_lane i64x2_replace_lane f32x4_extract_lane
        f32x4_replace_lane f64x2_extract_lane f64x2_replace_lane i8x16_eq i8x16_ne i8x16_lt_s i8x16_lt_u i8x16_gt_s
        i8x16_gt_u i8x16_le_s i8x16_le_u i8x16_ge_s i8x16_ge_u i16x8_eq i16x8_ne i16x8_lt_s i16x8_lt_u i16x8_gt_s
        i16x8_gt_u i16x8_le_s i16x8_le_u i16x8_ge_s i16x8_ge_u i32x4_eq i32x4_ne i32x4_lt_s i32x4_lt_u i32x4_gt_s
        i32x4_gt_u i32x4_le_s i32x4_le_u i32x4_ge_s i32x4_ge_u f32x4_eq f32x4_ne f32x4_lt f32x4_gt f32x4_le f32x4_ge
        f64x2_eq f64x2_ne f64x2_lt f64x2_gt f64x2_le f64x2_ge v128_not v128_and v128_andnot v128_or v128_xor
        v128_bitselect v128_any_true v128_load8_lane v128_load16_lane v128_load32_lane v128_load64_lane v128_store8_lane
        v128_store16_lane v128_store32_lane v128_store64_lane v128_load32_zero v128_load64_zero f32x4_demote_f64x2_zero
        f64x2_promote_low_f32x4 i8x16_abs i8x16_neg i8x16_popcnt i8x16_all_true i8x16_bitmask i8x16_narrow_i16x8_s
        i8x16_narrow_i16x8_u f32x4_ceil f32x4_floor f32x4_trunc f32x4_nearest i8x16_shl i8x16_shr_s i8x16_shr_u
        i8x16_add i8x16_add_sat_s i8x16_add_sat_u i8x16_sub i8x16_sub_sat_s i8x16_sub_sat_u f64x2_ceil f64x2_floor
        i8x16_min_s i8x16_min_u i8x16_max_s i8x16_max_u f64x2_trunc i8x16_avgr_u i16x8_extadd_pairwise_i8x16_s
        i16x8_extadd_pairwise_i8x16_u i32x4_extadd_pairwise_i16x8_s i32x4_extadd_pairwise_i16x8_u i16x8_abs i16x8_neg
        i16x8_q15mulr_sat_s i16x8_all_true i16x8_bitmask i16x8_narrow_i32x4_s i16x8_narrow_i32x4_u
        i16x8_extend_low_i8x16_s i16x8_extend_high_i8x16_s i16x8_extend_low_i8x16_u i16x8_extend_high_i8x16_u i16x8_shl
        i16x8_shr_s i16x8_shr_u i16x8_add i16x8_add_sat_s i16x8_add_sat_u i16x8_sub i16x8_sub_sat_s i16x8_sub_sat_u
        f64x2_nearest i16x8_mul i16x8_min_s i16x8_min_u i16x8_max_s i16x8_max_u 9b: i16x8_avgr_u
        i16x8_extmul_low_i8x16_s i16x8_extmul_high_i8x16_s i16x8_extmul_low_i8x16_u i16x8_extmul_high_i8x16_u i32x4_abs
        i32x4_neg a3: i32x4_all_true i32x4_bitmask a7: i32x4_extend_low_i16x8_s i32x4_extend_high_i16x8_s
        i32x4_extend_low_i16x8_u i32x4_extend_high_i16x8_u i32x4_shl i32x4_shr_s i32x4_shr_u i32x4_add b1: i32x4_sub b5:
        i32x4_mul i32x4_min_s i32x4_min_u i32x4_max_s i32x4_max_u i32x4_dot_i16x8_s bc: i32x4_extmul_low_i16x8_s
        i32x4_extmul_high_i16x8_s i32x4_extmul_low_i16x8_u i32x4_extmul_high_i16x8_u i64x2_abs i64x2_neg c3:
        i64x2_all_true i64x2_bitmask c7: i64x2_extend_low_i32x4_s i64x2_extend_high_i32x4_s i64x2_extend_low_i32x4_u
        i64x2_extend_high_i32x4_u i64x2_shl i64x2_shr_s i64x2_shr_u i64x2_add d1: i64x2_sub d5: i64x2_mul i64x2_eq
        i64x2_ne i64x2_lt_s i64x2_gt_s i64x2_le_s i64x2_ge_s i64x2_extmul_low_i32x4_s i64x2_extmul_high_i32x4_s
        i64x2_extmul_low_i32x4_u i64x2_extmul_high_i32x4_u f32x4_abs f32x4_neg e3: f32x4_sqrt f32x4_add f32x4_sub
        f32x4_mul f32x4_div f32x4_min f32x4_max f32x4_pmin f32x4_pmax f64x2_abs f64x2_neg ef: f64x2_sqrt f64x2_add
        f64x2_sub f64x2_mul f64x2_div f64x2_min f64x2_max f64x2_pmin f64x2_pmax i32x4_trunc_sat_f32x4_s
        i32x4_trunc_sat_f32x4_u f32x4_convert_i32x4_s f32x4_convert_i32x4_u i32x4_trunc_sat_f64x2_s_zero
        i32x4_trunc_sat_f64x2_u_zero f64x2_convert_low_i32x4_s f64x2_convert_low_i32x4_u i8x16_relaxed_swizzle
        i32x4_relaxed_trunc_f32x4_s i32x4_relaxed_trunc_f32x4_u i32x4_relaxed_trunc_f64x2_s_zero
        i32x4_relaxed_trunc_f64x2_u_zero f32x4_relaxed_madd f32x4_relaxed_nmadd f64x2_relaxed_madd f64x2_relaxed_nmadd
        i8x16_relaxed_laneselect i16x8_relaxed_laneselect i32x4_relaxed_laneselect i64x2_relaxed_laneselect
        f32x4_relaxed_min f32x4_relaxed_max f64x2_relaxed_min f64x2_relaxed_max i16x8_relaxed_q15mulr_s
        i16x8_relaxed_dot_i8x16_i7x16_s i32x4_relaxed_dot_i8x16_i7x16_add_s
    """,
    0xFE: """
        0: memory_atomic_notify memory_atomic_wait32 memory_atomic_wait64 atomic_fence 10: i32_atomic_load
        i64_atomic_load i32_atomic_load8_u i32_atomic_load16_u i64_atomic_load8_u i64_atomic_load16_u
        i64_atomic_load32_u i32_atomic_store i64_atomic_store i32_atomic_store8 i32_atomic_store16 i64_atomic_store8
        i64_atomic_store16 i64_atomic_store32 i32_atomic_rmw_add i64_atomic_rmw_add i32_atomic_rmw8_add_u
        i32_atomic_rmw16_add_u i64_atomic_rmw8_add_u i64_atomic_rmw16_add_u i64_atomic_rmw32_add_u i32_atomic_rmw_sub
        i64_atomic_rmw_sub i32_atomic_rmw8_sub_u i32_atomic_rmw16_sub_u i64_atomic_rmw8_sub_u i64_atomic_rmw16_sub_u
        i64_atomic_rmw32_sub_u i32_atomic_rmw_and i64_atomic_rmw_and i32_atomic_rmw8_and_u i32_atomic_rmw16_and_u
        i64_atomic_rmw8_and_u i64_atomic_rmw16_and_u i64_atomic_rmw32_and_u i32_atomic_rmw_or i64_atomic_rmw_or
        i32_atomic_rmw8_or_u i32_atomic_rmw16_or_u i64_atomic_rmw8_or_u i64_atomic_rmw16_or_u i64_atomic_rmw32_or_u
        i32_atomic_rmw_xor i64_atomic_rmw_xor i32_atomic_rmw8_xor_u i32_atomic_rmw16_xor_u i64_atomic_rmw8_xor_u
        i64_atomic_rmw16_xor_u i64_atomic_rmw32_xor_u i32_atomic_rmw_xchg i64_atomic_rmw_xchg i32_atomic_rmw8_xchg_u
        i32_atomic_rmw16_xchg_u i64_atomic_rmw8_xchg_u i64_atomic_rmw16_xchg_u i64_atomic_rmw32_xchg_u
        i32_atomic_rmw_cmpxchg i64_atomic_rmw_cmpxchg i32_atomic_rmw8_cmpxchg_u i32_atomic_rmw16_cmpxchg_u
        i64_atomic_rmw8_cmpxchg_u i64_atomic_rmw16_cmpxchg_u i64_atomic_rmw32_cmpxchg_u
    """,
}


def _unfold() -> dict[int, str]:
    names: dict[int, str] = {}
    for prefix, text in _NAMES.items():
        at = 0
        for word in text.split():
            if word.endswith(":"):
                at = (prefix << 12) + int(word[:-1], 16)
            else:
                # extended-const and gc instructions are printed in the text format's spelling
                names[at] = word if "." in word else f"visit_{word}"
                at += 1
    return names


OPERATOR_NAMES: Final = _unfold()
