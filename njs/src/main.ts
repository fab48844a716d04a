/** The names that nginx.conf may call. */
import {
  answerHeaders,
  boundAnswer,
  boundTags,
  gunzipEcho,
  passHeaders,
  refsTarget,
  resultHeader,
  target,
  uploadPack,
} from './handlers.ts'

export default {
  uploadPack,
  target,
  refsTarget,
  passHeaders,
  resultHeader,
  answerHeaders,
  boundAnswer,
  boundTags,
  gunzipEcho,
}
