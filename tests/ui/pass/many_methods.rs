//! Row `many_methods`: a large object compiles in reasonable time.
use opendo::prelude::*;

pub struct Large;

macro_rules! large {
    ($($name:ident)*) => {
        #[rpc_target]
        impl Large {
            $(pub async fn $name(&mut self, key: String, value: u64) -> Result<u64, String> {
                if key.is_empty() { Err(key) } else { Ok(value) }
            })*
        }
    };
}

large! {
    method_0 method_1 method_2 method_3 method_4 method_5 method_6 method_7 method_8 method_9
    method_10 method_11 method_12 method_13 method_14 method_15 method_16 method_17 method_18 method_19
    method_20 method_21 method_22 method_23 method_24 method_25 method_26 method_27 method_28 method_29
    method_30 method_31 method_32 method_33 method_34 method_35 method_36 method_37 method_38 method_39
    method_40 method_41 method_42 method_43 method_44 method_45 method_46 method_47 method_48 method_49
    method_50 method_51 method_52 method_53 method_54 method_55 method_56 method_57 method_58 method_59
    method_60 method_61 method_62 method_63 method_64 method_65 method_66 method_67 method_68 method_69
    method_70 method_71 method_72 method_73 method_74 method_75 method_76 method_77 method_78 method_79
    method_80 method_81 method_82 method_83 method_84 method_85 method_86 method_87 method_88 method_89
    method_90 method_91 method_92 method_93 method_94 method_95 method_96 method_97 method_98 method_99
    method_100 method_101 method_102 method_103 method_104 method_105 method_106 method_107 method_108 method_109
    method_110 method_111 method_112 method_113 method_114 method_115 method_116 method_117 method_118 method_119
    method_120 method_121 method_122 method_123 method_124 method_125 method_126 method_127 method_128 method_129
    method_130 method_131 method_132 method_133 method_134 method_135 method_136 method_137 method_138 method_139
    method_140 method_141 method_142 method_143 method_144 method_145 method_146 method_147 method_148 method_149
    method_150 method_151 method_152 method_153 method_154 method_155 method_156 method_157 method_158 method_159
    method_160 method_161 method_162 method_163 method_164 method_165 method_166 method_167 method_168 method_169
    method_170 method_171 method_172 method_173 method_174 method_175 method_176 method_177 method_178 method_179
    method_180 method_181 method_182 method_183 method_184 method_185 method_186 method_187 method_188 method_189
    method_190 method_191 method_192 method_193 method_194 method_195 method_196 method_197 method_198 method_199
    method_200 method_201 method_202 method_203 method_204 method_205 method_206 method_207 method_208 method_209
    method_210 method_211 method_212 method_213 method_214 method_215 method_216 method_217 method_218 method_219
    method_220 method_221 method_222 method_223 method_224 method_225 method_226 method_227 method_228 method_229
    method_230 method_231 method_232 method_233 method_234 method_235 method_236 method_237 method_238 method_239
    method_240 method_241 method_242 method_243 method_244 method_245 method_246 method_247 method_248 method_249
    method_250 method_251 method_252 method_253 method_254 method_255 method_256 method_257 method_258 method_259
    method_260 method_261 method_262 method_263 method_264 method_265 method_266 method_267 method_268 method_269
    method_270 method_271 method_272 method_273 method_274 method_275 method_276 method_277 method_278 method_279
    method_280 method_281 method_282 method_283 method_284 method_285 method_286 method_287 method_288 method_289
    method_290 method_291 method_292 method_293 method_294 method_295 method_296 method_297 method_298 method_299
}

fn main() {
    assert_eq!(LargeStub::INTERFACE.methods.len(), 300);
}
