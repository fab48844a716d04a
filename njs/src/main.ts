/** The names that nginx.conf may call. */
import {
  answerHeaders,
  boundAnswer,
  boundTags,
  gunzipEcho,
  headers,
  refsTarget,
  target,
  uploadPack,
} from './handlers.ts'

export default {
  uploadPack,
  target,
  refsTarget,
  headers,
  answerHeaders,
  boundAnswer,
  boundTags,
  gunzipEcho,
}
