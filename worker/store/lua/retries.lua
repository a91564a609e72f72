-- Take retried records off the retry queue and delete their failures. Does for many numbers what forget_failure does
-- for one id, in few commands.
local function remove_packed_retries(lane, numbers)
  for from = 1, #numbers, 1000 do
    local seqs, ids, digests, owners, alone = {}, {}, {}, {}, {}
    for i = from, math.min(from + 999, #numbers) do
      seqs[#seqs + 1] = numbers[i]
      ids[#ids + 1] = lane .. ':' .. seqs[#seqs]
    end
    for i, joined in ipairs(redis.call('HMGET', k('failures:digests'), unpack(ids))) do
      for _, digest in ipairs(digests_of(joined or '')) do
        digests[#digests + 1], owners[#owners + 1] = digest, ids[i]
      end
    end
    redis.call('HDEL', k('failures'), unpack(ids))
    redis.call('HDEL', k('failures:digests'), unpack(ids))
    redis.call('ZREM', k('retry:' .. lane), unpack(seqs))
    for at = 1, #digests, 1000 do
      local last = math.min(at + 999, #digests)
      for i, found in ipairs(redis.call('HMGET', k('failures:by_digest'), unpack(digests, at, last))) do
        local digest, id = digests[at + i - 1], owners[at + i - 1]
        if found == id then alone[#alone + 1] = digest else unindex(id, digest) end
      end
    end
    each('HDEL', k('failures:by_digest'), alone)
  end
end
