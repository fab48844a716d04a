/** The names that nginx.conf may call. */
import { answerHeaders, boundAnswer, boundTags } from './nginx/bounded.ts'
import { passHeaders, resultHeader } from './nginx/headers.ts'
import { gunzipEcho } from './nginx/request.ts'
import { uploadPack } from './nginx/upload-pack.ts'
import { refsTarget, replacedTarget } from './nginx/variables.ts'

export default {
  uploadPack,
  replacedTarget,
  refsTarget,
  passHeaders,
  resultHeader,
  answerHeaders,
  boundAnswer,
  boundTags,
  gunzipEcho,
}
